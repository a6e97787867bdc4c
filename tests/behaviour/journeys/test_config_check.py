"""`lyftdata config check` prints the same errors as a start, and neither creates anything when it fails."""

import pytest
from tests.certificates import self_signed
from tests.processes import Host, free_port


def assert_same_message(host, *commands, **environ):
    """Run commands that must fail with the same message; return it."""
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


def test_all_faulty_files_of_a_server_are_named_at_once(host, tmp_path):
    """A missing certificate and a data directory open to others are two lines, at the start and in the check."""
    _, key = self_signed(tmp_path)
    open_directory = tmp_path / "open"
    open_directory.mkdir(mode=0o755)
    given = {"LYFTDATA_TLS_CERT": "/nowhere.pem", "LYFTDATA_TLS_KEY": str(key)}

    text = assert_same_message(host, *SERVER, **given, LYFTDATA_STAGING_DIR=str(open_directory))

    first, second = text.splitlines()
    assert "LYFTDATA_TLS_CERT: /nowhere.pem cannot be read" in first
    assert f"LYFTDATA_STAGING_DIR: others can read {open_directory}" in second
    assert list(open_directory.iterdir()) == []


def test_an_empty_secret_key_file_is_an_error(host, tmp_path):
    """Both name it, and leave it as it is."""
    staging = tmp_path / "staging"
    staging.mkdir(mode=0o700)
    key = staging / "secret.key"
    key.touch(mode=0o600)

    assert str(key) in assert_same_message(host, *SERVER)
    assert list(staging.iterdir()) == [key]


def test_a_data_directory_that_cannot_be_created_is_named(host, tmp_path):
    """Its parent is a file."""
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "staging"

    assert str(below) in assert_same_message(host, *SERVER, LYFTDATA_STAGING_DIR=str(below))


def test_the_check_creates_no_directory(host, tmp_path):
    """It says that the settings can be used, and the data directory still does not exist."""
    assert "can be used" in host.run("config", "check", "server").stderr
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize("content", [b"", b"junk\n", None], ids=["empty", "junk", "a directory"])
def test_a_ca_file_without_certificates_is_named_by_every_program(host, tmp_path, content):
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
