"""`lyftdata config check` says what a start says, and neither makes anything when it fails."""

import pytest
from tests.certificates import self_signed
from tests.processes import Host, free_port


def assert_same_message(host, *commands, **environ):
    """Run commands that must fail alike; return what they say."""
    ended = [host.run(*command, **environ) for command in commands]
    assert {done.returncode for done in ended} == {2}, [done.stderr for done in ended]
    (text,) = {done.stderr for done in ended}
    return text


SERVER = (("run", "server"), ("config", "check", "server"))


@pytest.fixture
def host(tmp_path):
    """Return the host of a Server that has never run."""
    return Host(
        tmp_path / "host",
        LYFTDATA_STAGING_DIR=str(tmp_path / "staging"),
        LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{free_port()}",
    )


def test_every_file_of_a_server_at_fault_is_named_at_once(host, tmp_path):
    """A certificate that is missing and an open data directory are two lines, at the start and in the check."""
    _, key = self_signed(tmp_path)
    open_directory = tmp_path / "open"
    open_directory.mkdir(mode=0o755)
    given = {"LYFTDATA_TLS_CERT": "/nowhere.pem", "LYFTDATA_TLS_KEY": str(key)}

    text = assert_same_message(host, *SERVER, **given, LYFTDATA_STAGING_DIR=str(open_directory))

    first, second = text.splitlines()
    assert "LYFTDATA_TLS_CERT: /nowhere.pem cannot be read" in first
    assert f"LYFTDATA_STAGING_DIR: others can read {open_directory}" in second
    assert list(open_directory.iterdir()) == []


def test_a_secret_key_that_was_cut_is_found(host, tmp_path):
    """An empty secret.key is named by both, and stays as it is."""
    staging = tmp_path / "staging"
    staging.mkdir(mode=0o700)
    key = staging / "secret.key"
    key.touch(mode=0o600)

    assert str(key) in assert_same_message(host, *SERVER)
    assert list(staging.iterdir()) == [key]


def test_a_data_directory_that_cannot_be_made_is_named(host, tmp_path):
    """Below a file there can be none."""
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "staging"

    assert str(below) in assert_same_message(host, *SERVER, LYFTDATA_STAGING_DIR=str(below))


def test_the_check_makes_no_directory(host, tmp_path):
    """The settings can be used, and nothing is there afterwards."""
    assert "can be used" in host.run("config", "check", "server").stderr
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize("content", [b"", b"junk\n", None], ids=["empty", "junk", "a directory"])
def test_a_file_of_certificates_that_holds_none_is_named_by_every_program(host, tmp_path, content):
    """The agent, its check and the command line name LYFTDATA_TLS_CA and the file."""
    file = tmp_path / "ca.pem"
    file.mkdir() if content is None else file.write_bytes(content)

    text = assert_same_message(
        host,
        ("run", "worker"),
        ("config", "check", "worker"),
        ("token",),
        ("workers", "list"),
        LYFTDATA_TLS_CA=str(file),
        LYFTDATA_URL="https://localhost:1",
        LYFTDATA_WORKER_ID="press-01",
        LYFTDATA_WORKER_API_KEY="not-a-key-and-not-looked-at",
    )

    assert text.startswith("Error: LYFTDATA_TLS_CA: ")
    assert str(file) in text
