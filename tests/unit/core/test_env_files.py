"""Environment files of Workers."""

import subprocess

import pytest

from lyftdata.core.env_files import check_url, env_file, env_file_name
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret

KEY = Secret("lyftdata_" + "a" * 10 + "_" + "b" * 38)


def test_a_shell_can_source_the_file(tmp_path):
    """It exports exactly the values that were written."""
    file = tmp_path / "press-01.env"
    file.write_text(env_file(url="https://sörver.example:3000", worker_id="press-01", api_key=KEY), "utf-8")

    read = subprocess.run(
        ["sh", "-c", 'set -a; . "$1"; env', "sh", str(file)], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert "LYFTDATA_URL=https://sörver.example:3000" in read
    assert "LYFTDATA_WORKER_ID=press-01" in read
    assert f"LYFTDATA_WORKER_API_KEY={KEY.reveal()}" in read


@pytest.mark.parametrize("value", ["a b", "a;reboot", "$(reboot)", "a\nb", "'", ""])
def test_a_value_that_would_need_quotes_is_rejected(value):
    """A shell would otherwise execute it; the message does not repeat the value."""
    with pytest.raises(InvalidInputError) as refused:
        env_file(url="https://server.example", worker_id="w-1", api_key=Secret(value))

    assert refused.value.field == "LYFTDATA_WORKER_API_KEY"


@pytest.mark.parametrize(
    "url", ["https://[2001:db8::1]:3000", "http://localhost:3000", "https://xn--srver-jua.example"]
)
def test_urls_that_need_no_quotes_are_accepted(url):
    """IPv6 addresses and names."""
    check_url(url)


@pytest.mark.parametrize("url", ["https://a$b", "https://a;b", "https://a`b", "https://a%b", "https://a b"])
def test_a_url_that_would_need_quotes_is_rejected(url):
    """The URL of a Server may contain characters that a shell would execute or expand."""
    with pytest.raises(InvalidInputError):
        check_url(url)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("press-01", "press-01.env"),
        ("../../etc/passwd", "w-1.env"),
        (".hidden", "w-1.env"),
        ("two words", "w-1.env"),
        ("-rf", "w-1.env"),
    ],
)
def test_a_file_is_named_after_the_worker_if_that_is_safe(name, file):
    """Otherwise after its ID: a name may contain a slash, an ID may not."""
    assert env_file_name(name, "w-1") == file


@pytest.mark.parametrize("worker_id", ["../../.ssh/rc", "/etc/cron.d/x", "a/b", "..", ""])
def test_an_id_cannot_name_a_file_in_another_directory(worker_id):
    """Path traversal: an ID that no honest Server gives is refused."""
    with pytest.raises(InvalidInputError):
        env_file_name("Press 1", worker_id)
