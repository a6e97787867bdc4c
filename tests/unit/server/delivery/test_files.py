"""Events in a file, one per line."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.builders import NOON

from lyftdata.core.records import Transport
from lyftdata.server.delivery.files import FileSender
from lyftdata.server.delivery.messages import Destination, Outcome, make_test_message

LOCAL = Destination(name="local", transport=Transport.FILE, url="", secrets=[""], ca="")


def messages(*numbers):
    """Return a message for each number."""
    return [
        make_test_message(
            "local", operator="admin", at=NOON, unique=str(number), source=f"https://{number}.example"
        )
        for number in numbers
    ]


def sources(file):
    """Return the sources, which identify the messages, of the complete lines of a file."""
    return [json.loads(line)["source"] for line in file.read_text().splitlines() if line.endswith("}")]


@pytest.fixture
def sender(tmp_path):
    """Return a sender to a directory that is created at its first use."""
    with ThreadPoolExecutor(1) as threads:
        yield FileSender(tmp_path / "events", threads=threads)


async def test_lines_are_appended_to_a_private_file(sender, tmp_path):
    """No other user can read the file or its directory."""
    for number in (1, 2):
        assert await sender.send(LOCAL, messages(number)) == Outcome(1)

    file = tmp_path / "events" / "local.jsonl"
    assert sources(file) == ["https://1.example", "https://2.example"]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_a_file_that_was_renamed_is_created_again(sender, tmp_path):
    """Logrotate need not notify the Server."""
    file = tmp_path / "events" / "local.jsonl"
    await sender.send(LOCAL, messages(1))
    file.rename(file.with_suffix(".1"))

    await sender.send(LOCAL, messages(2))

    assert sources(file.with_suffix(".1")) == ["https://1.example"]
    assert sources(file) == ["https://2.example"]


async def test_a_line_truncated_by_a_crash_is_terminated(sender, tmp_path):
    """The next message starts on a new line."""
    file = tmp_path / "events" / "local.jsonl"
    await sender.send(LOCAL, messages(1))
    with file.open("a") as opened:
        opened.write('{"type":"wor')

    await sender.send(LOCAL, messages(2))

    assert sources(file) == ["https://1.example", "https://2.example"]


@pytest.mark.parametrize("kind", ["link", "readable", "directory"])
async def test_a_file_that_is_not_private_is_not_written(sender, tmp_path, kind):
    """A link could point to another file of the Server's user; a file that others can read would leak every event to them."""
    (tmp_path / "events").mkdir(0o700)
    file = tmp_path / "events" / "local.jsonl"
    if kind == "link":
        (tmp_path / "other").touch(0o600)
        file.symlink_to(tmp_path / "other")
    elif kind == "readable":
        file.touch(0o644)
        file.chmod(0o644)
    else:
        file.mkdir(0o700)

    outcome = await sender.send(LOCAL, messages(1))

    assert outcome.delivered == 0
    assert outcome.error.startswith("local.jsonl ")
    assert file.is_dir() or file.read_text() == ""


async def test_a_directory_that_others_can_read_is_not_used(sender, tmp_path):
    """As for every directory of the Server."""
    (tmp_path / "events").mkdir(0o755)
    (tmp_path / "events").chmod(0o755)

    outcome = await sender.send(LOCAL, messages(1))

    assert (outcome.delivered, "LYFTDATA_EVENTS_DIR" in outcome.error) == (0, True)
