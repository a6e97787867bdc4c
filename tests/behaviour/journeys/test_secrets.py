"""Secrets as they arrive in practice: with whitespace or a byte order mark around them, cut, or in quotes."""

import pytest
from tests.builders import ENROLLMENT_KEY, OTHER_SECRET_KEY, SECRET_KEY
from tests.deployment import PASSWORD
from tests.processes import Host


def test_whitespace_around_a_secret_is_ignored_everywhere(tmp_path, open_site):
    """
    Server, Worker and operator agree on a secret despite Windows line endings, spaces or a byte order mark around it.

    The Server gets each secret in one form, the others get it in that form and in another.
    """
    previous, key_file = tmp_path / "previous", tmp_path / "api.key"
    previous.write_bytes(f"\ufeff{OTHER_SECRET_KEY}\r\n\r\n".encode())
    site = open_site(
        LYFTDATA_AUTO_ENROLLMENT_KEY=f"{ENROLLMENT_KEY}\r",
        LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS_FILE=f"{previous}\r",
        LYFTDATA_ADMIN_INIT_PASSWORD=f" {PASSWORD}\r",
        LYFTDATA_SECRET_KEY=f"\ufeff{SECRET_KEY} ",
    )
    site.operator.done("login", "admin", "--password-stdin", stdin=f"\ufeff{PASSWORD}\r\n")
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    key_file.write_bytes(f"\ufeff{key}\n\n".encode())
    enrolling = {
        "same-variable": {"LYFTDATA_AUTO_ENROLLMENT_KEY": f"{ENROLLMENT_KEY}\r"},
        "other-space": {"LYFTDATA_AUTO_ENROLLMENT_KEY": f"  {ENROLLMENT_KEY}"},
        "same-file": {"LYFTDATA_AUTO_ENROLLMENT_KEY_FILE": f"{previous}\r"},
    }
    workers = [
        site.worker_host(name, LYFTDATA_WORKER_NAME=name, **given) for name, given in enrolling.items()
    ]
    workers.append(
        site.worker_host("keyed", LYFTDATA_WORKER_ID="press-01\r", LYFTDATA_WORKER_API_KEY_FILE=str(key_file))
    )
    for worker in workers:
        agent = worker.start("run", "worker")
        agent.wait_for("online")
        assert not agent.events("configuration_warning")

    site.server.terminate()
    secret_key = tmp_path / "secret-key"
    secret_key.write_bytes(f"{SECRET_KEY}\r\n".encode())
    site.start_server(LYFTDATA_SECRET_KEY="", LYFTDATA_SECRET_KEY_FILE=str(secret_key))


def test_a_truncated_or_mistyped_api_key_is_reported_on_its_host(plain_site):
    """The Server gives no reason for its refusal; the Worker's log and `config check` say what is wrong with the key."""
    plain_site.operator.done("workers", "add", "press-01", "--id", "press-01")
    key = plain_site.operator.done("api-key", "issue", "press-keys", "--worker", "press-01").strip()
    for given, message in (
        (key[:-1], "it has 57 characters, and an API key has 58"),
        (key[:-1] + ("x" if key[-1] != "x" else "y"), "its checksum is wrong"),
    ):
        host = plain_site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=given)
        checked = host.run("config", "check", "worker")
        assert f"LYFTDATA_WORKER_API_KEY: not a complete API key ({message}" in checked.stderr
        agent = host.start("run", "worker")
        assert agent.exit_code() == 3
        (warning,) = agent.events("configuration_warning")
        assert message in warning["problem"]
        assert given not in agent.log + checked.stderr + checked.stdout


@pytest.mark.parametrize(
    ("side", "names"),
    [
        (
            "server",
            ["LYFTDATA_AUTO_ENROLLMENT_KEY", "LYFTDATA_SECRET_KEY", "LYFTDATA_ADMIN_INIT_PASSWORD"],
        ),
        ("worker", ["LYFTDATA_WORKER_API_KEY"]),
        ("worker", ["LYFTDATA_AUTO_ENROLLMENT_KEY"]),
    ],
)
def test_a_secret_in_quotes_is_an_error_on_both_sides(tmp_path, side, names):
    """`docker --env-file` keeps quotes; `config check` and the start exit 2 and name the variable."""
    host = Host(
        tmp_path / "h",
        LYFTDATA_STAGING_DIR=str(tmp_path / "s"),
        LYFTDATA_JOBS_DIR=str(tmp_path / "j"),
        LYFTDATA_WORKER_NAME="w",
        **dict.fromkeys(names, f'"{ENROLLMENT_KEY}"'),
    )
    for arguments in (("run", side), ("config", "check", side)):
        result = host.run(*arguments)
        assert result.returncode == 2
        assert all(f"{name}: must not be in quotes" in result.stderr for name in names)
        assert ENROLLMENT_KEY not in result.stderr
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "j").exists()
