"""What the doctor finds on a Worker's host before anything is sent."""

import asyncio
import grp
import os
import pwd

import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.doctor.findings import ALL_CHECKS, Severity
from lyftdata.doctor.secret_files import check_private
from lyftdata.doctor.worker import examine_worker
from lyftdata.doctor.worker_host import check_host
from lyftdata.worker.settings import read_worker_settings

KEY = "lyftdata_key_0123456789"


@pytest.fixture
def environ(tmp_path):
    """Return the environment of a Worker whose API key is in a private file."""
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(KEY)
    return {
        "LYFTDATA_WORKER_ID": "press-01",
        "LYFTDATA_WORKER_API_KEY_FILE": str(file),
        "LYFTDATA_JOBS_DIR": str(tmp_path / "jobs"),
    }


@pytest.fixture
def enrolling(tmp_path):
    """Return the environment of a Worker that has not enrolled yet."""
    return {
        "LYFTDATA_WORKER_NAME": "press-02",
        "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
        "LYFTDATA_JOBS_DIR": str(tmp_path / "jobs"),
    }


def examined(environ):
    """Return the findings."""
    return list(check_host(read_worker_settings(environ), environ))


def codes(environ):
    """Return the findings' codes."""
    return [finding.check.code for finding in examined(environ)]


def test_each_invalid_setting_is_a_finding(environ):
    """Not only the first one."""
    wrong = {"LYFTDATA_URL": "lyftdata.example.com", "LYFTDATA_RESTART": "sometimes"}

    found = asyncio.run(examine_worker(environ | wrong))

    assert [finding.check.code for finding in found] == ["setting_invalid", "setting_invalid"]
    assert {finding.what.partition(":")[0] for finding in found} == {"LYFTDATA_URL", "LYFTDATA_RESTART"}


def test_a_truncated_key_is_found_and_not_shown(environ):
    """The Server would refuse it without saying why."""
    (finding,) = examined(environ)

    assert finding.check.code == "setting_suspicious"
    assert "not a complete API key" in finding.what
    assert KEY not in str(finding.as_dict())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_other_users_can_read_is_found(environ, mode, tmp_path, monkeypatch):
    """With the command that makes the file private."""
    # Test directories cannot be entered by other users.
    monkeypatch.setattr("lyftdata.doctor.secret_files._others_can_enter", lambda _path: True)
    file = tmp_path / "key"
    file.chmod(mode)

    found = [finding for finding in examined(environ) if finding.check.code == "secret_file_exposed"]

    assert [finding.fix for finding in found] == [f"chmod 600 {file}"]


def test_the_fix_for_a_group_readable_file_keeps_it_readable(tmp_path, monkeypatch):
    """With `root:worker 0640`, the program could not read its own secret after chmod 600 alone."""
    monkeypatch.setattr("lyftdata.doctor.secret_files._others_can_enter", lambda _path: True)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    file = tmp_path / "key"
    file.touch(0o640)
    file.chmod(0o640)

    (finding,) = check_private("LYFTDATA_TLS_KEY", file)

    assert finding.fix == f"chown 4711 {file} && chmod 600 {file}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
@pytest.mark.parametrize(
    ("mode", "group", "is_exposed"),
    [(0o640, "daemon", False), (0o440, "daemon", False), (0o660, "daemon", True), (0o644, "daemon", True), (0o640, "bin", True)],
)  # fmt: skip
def test_a_file_of_root_may_be_readable_by_the_programs_group_only(
    tmp_path, monkeypatch, mode, group, is_exposed
):
    """As after `install -m 640 -g lyftdata`, which the documentation has for a certificate's key."""
    monkeypatch.setattr("lyftdata.doctor.secret_files._others_can_enter", lambda _path: True)
    daemon = pwd.getpwnam("daemon").pw_uid
    file = tmp_path / "key"
    file.touch()
    os.chown(file, 0, grp.getgrnam(group).gr_gid)
    file.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: daemon)

    assert len(list(check_private("LYFTDATA_TLS_KEY", file))) == is_exposed


def test_a_secret_in_a_directory_that_only_this_user_can_enter_is_not_exposed(environ, tmp_path):
    """Like the mounts of container runtimes."""
    (tmp_path / "key").chmod(0o644)
    tmp_path.chmod(0o700)

    assert "secret_file_exposed" not in codes(environ)


def test_an_unchecked_certificate_is_found(environ):
    """TLS without verification protects nothing."""
    with_tls = {"LYFTDATA_URL": "https://lyftdata.example.com", "LYFTDATA_TLS_INSECURE": "yes"}

    assert "tls_not_checked" in codes(environ | with_tls)
    assert "tls_not_checked" not in codes(environ | {"LYFTDATA_TLS_INSECURE": "yes"})


def test_plain_http_to_another_machine_is_found(environ):
    """Even if it is allowed by the settings."""
    plain = {"LYFTDATA_URL": "http://lyftdata.example.com", "LYFTDATA_ALLOW_HTTP": "yes"}

    assert "plain_http" in codes(environ | plain)


def test_a_directory_that_others_can_use_is_found(enrolling, tmp_path):
    """They could use the identity key too."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs").chmod(0o755)

    assert codes(enrolling) == ["directory_unusable"]


def test_a_damaged_identity_is_found(enrolling, tmp_path):
    """The finding says that it is damaged."""
    (tmp_path / "jobs").mkdir(0o700)
    (tmp_path / "jobs" / "identity.json").touch(0o600)
    (tmp_path / "jobs" / "identity.json").write_text("{")

    (finding,) = examined(enrolling)

    assert finding.check.code == "directory_unusable"
    assert "damaged" in finding.what


def test_a_directory_that_cannot_be_written_is_found(enrolling, tmp_path, monkeypatch):
    """Before the Worker uses its enrollment key in vain. The nearest existing parent directory counts."""
    # These tests may run as root, who can write anywhere.
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)

    (finding,) = examined(enrolling)

    assert finding.check.code == "directory_read_only"
    assert f"chown {os.geteuid()} {tmp_path}" in finding.fix


def test_a_file_instead_of_the_directory_is_found(enrolling, tmp_path):
    """No directory can be created below it."""
    (tmp_path / "jobs").touch()

    assert codes(enrolling | {"LYFTDATA_JOBS_DIR": str(tmp_path / "jobs" / "worker")}) == [
        "directory_unusable"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"LYFTDATA_AUTO_ENROLLMENT_KEY": ""},
        {"LYFTDATA_WORKER_NAME": ""},
        {"LYFTDATA_AUTO_ENROLLMENT_KEY": "too-short"},
        {"LYFTDATA_WORKER_ID": "press-02"},
        {"LYFTDATA_WORKER_ID": "press-02", "LYFTDATA_WORKER_API_KEY": KEY * 3},
    ],
)
def test_settings_for_no_strategy_or_for_both_are_found(enrolling, change):
    """A Worker uses exactly one; the finding says which variable to set or unset."""
    found = {finding.check.code: finding.fix for finding in examined(enrolling | change)}

    assert found["no_credential"] == "Correct it as described, then start the Worker again."


def test_a_healthy_host_has_no_finding(enrolling):
    """Before its Worker has enrolled."""
    assert codes(enrolling) == []


def test_every_check_says_why_it_matters():
    """Codes are unique, and the reference page is a table of them."""
    assert len({check.code for check in ALL_CHECKS}) == len(ALL_CHECKS)
    assert all(check.why.endswith(".") and check.severity in Severity for check in ALL_CHECKS)
