"""The file that stores an operator's sessions."""

from tests.unit.cli.conftest import CommandHost

from lyftdata.cli.credentials import Credentials
from lyftdata.core.secret import Secret


def test_credentials_are_private_and_per_server(tmp_path):
    """The file has mode 0600 in a directory with 0700, and one token for each Server."""
    credentials = Credentials(tmp_path / "c")
    credentials.store("http://a", Secret("one"))
    credentials.store("http://b", Secret("two"))
    credentials.forget("http://a")

    assert credentials.find("http://a") is None
    kept = credentials.find("http://b")
    assert kept is not None
    assert kept.reveal() == "two"
    (file,) = (tmp_path / "c").iterdir()
    assert (oct(file.stat().st_mode & 0o777), oct(file.parent.stat().st_mode & 0o777)) == ("0o600", "0o700")


def test_an_error_of_the_credentials_file_names_it(tmp_path):
    """It is not reported as output that could not be written."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    (locked / "credentials.json").mkdir()
    done = CommandHost(tmp_path / "h", LYFTDATA_CONFIG_DIR=str(locked)).run("workers", "list")
    assert done.exit_code == 2
    assert "credentials.json is not a regular file" in done.errors
    assert "output" not in done.errors
