"""The Worker's directory, its settings, and what its COMMAND inherits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lyftdata.core.errors import SettingsError
from lyftdata.core.origins import is_loopback, same_origin
from lyftdata.core.strategy import StoredIdentity
from lyftdata.worker.identity.state import StateDirectory, StateError
from lyftdata.worker.process.command import without_secrets
from lyftdata.worker.settings import read_worker_settings, scrub_environment

IDENTITY = StoredIdentity(issuer="https://l", server_url="https://l", worker_id="w-1", worker_name="press")


@pytest.fixture
def directory(tmp_path):
    """Return a directory that is created when it is first needed."""
    return StateDirectory(tmp_path / "jobs")


def test_an_identity_is_stored_and_loaded(directory):
    """The same key is used until there is an identity."""
    with directory.locked():
        key = directory.load_or_make_key()
        assert directory.load_or_make_key().public == key.public
        assert directory.load_identity() is None
        directory.save_identity(IDENTITY)

    assert directory.load_identity() == IDENTITY
    assert directory.load_key().public == key.public


def test_loading_creates_no_directory(directory):
    """There is no identity before the first write."""
    assert directory.load_identity() is None
    assert not directory.path.exists()


@pytest.mark.parametrize("damage", ["identity.json", "identity-key.pem"])
@pytest.mark.parametrize("content", ["", "{", '{"issuer": 5}'])
def test_a_damaged_file_is_reported_and_not_replaced(directory, damage, content):
    """The error names the file: a new identity never overwrites an old one."""
    with directory.locked():
        directory.load_or_make_key()
        directory.save_identity(IDENTITY)
    (directory.path / damage).write_text(content)

    with pytest.raises(SettingsError) as raised:
        directory.load_identity()
        directory.load_key()
    assert damage in str(raised.value)
    assert (directory.path / damage).read_text() == content


def test_an_identity_without_its_key_is_an_error(directory):
    """An incomplete directory is not a Worker."""
    with directory.locked():
        directory.load_or_make_key()
        directory.save_identity(IDENTITY)
    (directory.path / "identity-key.pem").unlink()

    with pytest.raises(SettingsError, match="without its key"):
        directory.load_identity()


def test_a_second_program_is_locked_out(directory):
    """The error says to use another directory; once the first one ends, the directory is free."""
    with (
        directory.locked(),
        pytest.raises(SettingsError, match="LYFTDATA_JOBS_DIR"),
        StateDirectory(directory.path).locked(),
    ):
        pass
    with StateDirectory(directory.path).locked():
        pass


def test_a_full_disk_leaves_the_old_file(directory, monkeypatch):
    """A failed write is a clear error, and the old file is still complete."""
    with directory.locked():
        directory.load_or_make_key()
        directory.save_identity(IDENTITY)

        def full(_descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StateError, match="No space left"):
            directory.save_identity(
                StoredIdentity(issuer="x", server_url="x", worker_id="x", worker_name="x")
            )
        monkeypatch.undo()
    assert directory.load_identity() == IDENTITY
    assert sorted(file.name for file in directory.path.iterdir()) == [
        "identity-key.pem",
        "identity.json",
        "lock",
    ]


_WRITE_FOR_EVER = """
import sys
from pathlib import Path
from lyftdata.core.strategy import StoredIdentity
from lyftdata.worker.identity.state import StateDirectory
directory = StateDirectory(Path(sys.argv[1]))
with directory.locked():
    directory.load_or_make_key()
    n = 0
    while True:
        n += 1
        directory.save_identity(StoredIdentity(issuer="i" * 3000, server_url="s", worker_id=f"w-{n}", worker_name="n"))
        if n == 1:
            print("writing", flush=True)
"""


@pytest.mark.parametrize("wait_s", [0.0, 0.01, 0.03, 0.07])
def test_kill_9_leaves_a_complete_file(directory, wait_s):
    """Killed at any moment of a write, the next start reads a complete identity."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE_FOR_EVER, directory.path], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait_s)
        writer.send_signal(signal.SIGKILL)

    identity = directory.load_identity()
    assert identity is not None
    assert identity.worker_id.startswith("w-")
    with directory.locked():
        directory.save_identity(IDENTITY)
    assert directory.load_identity() == IDENTITY


# --- settings and environment ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://Lyft.Example:443/", "https://lyft.example"),
        ("http://LOCALHOST:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_urls_are_normalized(url, kept):
    """Host in lower case, no default port, no slash."""
    assert read_worker_settings({"LYFTDATA_URL": url}).url == kept


@pytest.mark.parametrize(
    "url",
    ["lyft", "ftp://x", "https://", "https://u:p@x", "https://x/path", "https://x?q", "https://x:99999"],
)
def test_a_url_with_user_path_or_query_is_rejected(url):
    """As is an invalid one; credentials in it are not repeated."""
    with pytest.raises(SettingsError) as faults:
        read_worker_settings({"LYFTDATA_URL": url})
    assert "u:p" not in str(faults.value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://localhost:3000", "http://127.0.0.1:3000", True),
        ("http://[::1]:3000", "http://localhost:3000", True),
        ("http://localhost:3000", "http://localhost:3001", False),
        ("http://localhost:3000", "https://localhost:3000", False),
        ("https://a", "https://a:443", True),
        ("https://a", "https://a.evil.example", False),
        ("https://127.0.0.1.evil.example", "https://localhost", False),
        ("https://a", "nonsense", False),
    ],
)
def test_origins_are_compared_by_scheme_host_and_port(one, other, same):
    """The loopback names of this machine count as one host."""
    assert same_origin(one, other) is same


def test_only_this_machine_is_loopback():
    """Names that only look like loopback are not."""
    assert all(is_loopback(f"http://{host}") for host in ("localhost", "127.0.0.1", "127.8.8.8", "[::1]"))
    assert not any(
        is_loopback(f"http://{host}") for host in ("localhost.evil", "127.0.0.1.nip", "10.0.0.1", "")
    )


def test_secrets_are_removed_from_the_environment():
    """From the agent's own environment and from a COMMAND's, with the paths to their files."""
    secret = {
        "LYFTDATA_WORKER_API_KEY": "a",
        "LYFTDATA_WORKER_API_KEY_FILE": "b",
        "LYFTDATA_AUTO_ENROLLMENT_KEY": "c",
        "LYFTDATA_AUTO_ENROLLMENT_KEY_FILE": "d",
        "LYFTDATA_ADMIN_INIT_PASSWORD": "e",
        "LYFTDATA_SECRET_KEY": "f",
        "LYFTDATA_DATABASE_URL": "g",
    }
    environ = {**secret, "PATH": "/bin", "LYFTDATA_URL": "http://localhost:3000"}
    misspelt = {"LYFTDATA_API_KEY": "h", "Lyftdata_Worker_Secret": "i", "LYFTDATA_ADMIN_PASSWORD": "j"}

    assert set(without_secrets(environ | misspelt)) == {"PATH", "LYFTDATA_URL"}
    assert set(without_secrets(environ)) == {"PATH", "LYFTDATA_URL"}
    scrub_environment(environ)
    assert set(environ) == {"PATH", "LYFTDATA_URL"}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl are Linux's")
def test_the_agent_cannot_be_read_by_its_own_command():
    """A process that is not dumpable shows its environment only to root; what it starts is not affected."""
    ask = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    code = (
        "import subprocess, sys; from lyftdata.hardening import hide_from_other_programs as hide;"
        f"hide(); {ask}; subprocess.run([sys.executable, '-c', {ask!r}], check=True)"
    )
    done = subprocess.run([sys.executable, "-uc", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["0", "1"]


def test_settings_do_not_reveal_secrets_when_printed():
    """Their `repr` may be logged."""
    settings = read_worker_settings({"LYFTDATA_WORKER_API_KEY": "very-secret", "LYFTDATA_WORKER_ID": "w"})
    assert "very-secret" not in repr(settings)


def test_a_missing_enrollment_key_file_is_a_warning(tmp_path):
    """An enrolled Worker does not need it, but at a first start with a wrong path the user must see it."""
    settings = read_worker_settings(
        {"LYFTDATA_WORKER_NAME": "n", "LYFTDATA_AUTO_ENROLLMENT_KEY_FILE": str(tmp_path / "gone")}
    )
    assert settings.enrollment_key is None
    assert "gone" in settings.warnings[0]
    assert Path(tmp_path).exists()
