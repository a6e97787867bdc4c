"""The counter of a Worker's signatures, on disk."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from functools import partial

import pytest

from lyftdata.client import counter_file
from lyftdata.client.counter_file import CounterFile
from lyftdata.core.signature_counter import SignatureNumber
from lyftdata.core.strategy import COUNTER_FILE

NOON_MS = 1_700_000_000_000

TAKE = """
import sys
from pathlib import Path
from lyftdata.client.counter_file import CounterFile

counter = CounterFile(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    taken = counter.take_number()
    assert taken is not None and not taken.is_repeated
    print(taken.number, taken.at_ms, flush=True)
"""


@pytest.fixture
def directory(tmp_path):
    """Return a Worker's directory."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def problems():
    """Return the list of reported problems."""
    return []


@pytest.fixture
def counter(directory, problems):
    """Return the counter in a directory, with a clock that stands still."""
    return CounterFile(directory, on_problem=problems.append, now_ms=lambda: NOON_MS)


def take(counter: CounterFile) -> SignatureNumber:
    """Take a number, which must exist."""
    taken = counter.take_number()
    assert taken is not None
    return taken


def start_process(directory, count):
    """Start a process that takes numbers."""
    command = [sys.executable, "-c", TAKE, str(directory), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_numbers_and_times_only_grow(directory):
    """Even if the host's clock is set back, and across restarts."""
    times = [NOON_MS, NOON_MS - 3_600_000, NOON_MS + 5]
    taken = [take(CounterFile(directory, now_ms=partial(int, at))) for at in times]

    assert [(number.number, number.at_ms) for number in taken] == [
        (1, NOON_MS),
        (2, NOON_MS + 1),
        (3, NOON_MS + 5),
    ]
    assert not any(number.is_repeated for number in taken)


def test_the_file_is_private_and_never_grows(directory, counter):
    """It belongs to the directory's owner and has a fixed size."""
    for _ in range(3):
        counter.take_number()
    status = (directory / COUNTER_FILE).stat()

    assert status.st_mode & 0o777 == 0o600
    assert status.st_uid == directory.stat().st_uid
    assert status.st_size == 256


def test_processes_and_threads_of_a_host_never_take_the_same_number(directory):
    """And the times have the same order as the numbers."""
    processes = [start_process(directory, 40) for _ in range(2)]
    mine: list[SignatureNumber] = []
    counter = CounterFile(directory)
    threads = [
        threading.Thread(target=lambda: mine.extend(take(counter) for _ in range(40))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [
        line.split() for process in processes for line in process.communicate(timeout=180)[0].splitlines()
    ]
    taken = sorted([(int(number), int(at)) for number, at in lines] + [taken.position for taken in mine])

    assert [number for number, _ in taken] == list(range(1, 201))
    assert sorted({at for _, at in taken}) == [at for _, at in taken]


def test_a_process_that_is_killed_at_any_moment_repeats_no_number(directory):
    """After `kill -9` while it counts, the next process continues after the last number that was handed out."""
    highest = handed_out = 0
    for _ in range(3):
        with start_process(directory, 100_000) as process:
            for line in process.stdout:
                handed_out = int(line.split()[0])
                if handed_out >= highest + 5:
                    process.kill()

        following = take(CounterFile(directory))

        assert handed_out < following.number <= handed_out + 2
        highest = following.number


@pytest.mark.parametrize("written", range(0, 128, 9))
def test_a_power_cut_during_a_write_repeats_no_number(directory, counter, written):
    """Whatever part of the slot reached the disk, the previous number is still there."""
    for _ in range(3):
        counter.take_number()
    before = (directory / COUNTER_FILE).read_bytes()
    counter.take_number()
    after = (directory / COUNTER_FILE).read_bytes()
    [start] = [slot for slot in (0, 128) if before[slot : slot + 128] != after[slot : slot + 128]]
    torn = before[:start] + after[start : start + written] + before[start + written :]
    (directory / COUNTER_FILE).write_bytes(torn)

    assert take(counter).number == 4


def test_a_failing_disk_repeats_the_last_number(counter, problems, monkeypatch):
    """The number is marked as repeated, the problem is reported once, and counting resumes when writes work again."""
    last = take(counter)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fail)
        repeated = [take(counter) for _ in range(2)]

    assert [(one.position, one.is_repeated) for one in repeated] == [(last.position, True)] * 2
    [problem] = problems
    assert "Input/output error" in problem
    assert (take(counter).number, len(problems)) == (2, 1)


def test_a_read_only_directory_has_no_counter(directory, counter, problems, monkeypatch):
    """Such an identity sends no counter, like third-party clients."""

    def fail(*_args, **_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", fail)

    assert counter.take_number() is None
    assert "Read-only file system" in problems[0]


def test_a_process_that_is_stopped_while_it_counts_does_not_block_the_others(
    directory, counter, problems, monkeypatch
):
    """They wait for the lock for a limited time, and then repeat the last number."""
    counter.take_number()
    monkeypatch.setattr(counter_file, "_LOCK_WITHIN_S", 0.0)
    with (directory / COUNTER_FILE).open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)

        assert take(counter).is_repeated
    assert "another process holds its lock" in problems[0]
    assert not take(counter).is_repeated


def test_a_file_system_without_locks_has_no_counter(counter, problems, monkeypatch):
    """Two processes could take the same number there, and would look like copies."""

    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)

    assert counter.take_number() is None
    assert len(problems) == 1


@pytest.mark.parametrize("how", ["symlink", "mode"])
def test_a_file_that_others_could_change_is_not_used(directory, counter, problems, how):
    """Another user must not be able to make this Worker look like a copy."""
    file = directory / COUNTER_FILE
    if how == "symlink":
        file.symlink_to(directory / "elsewhere")
    else:
        file.touch(0o600)
        file.chmod(0o666)

    assert counter.take_number() is None
    assert len(problems) == 1


def test_a_refusal_as_a_copy_is_kept_until_the_server_gives_a_token(counter):
    """The numbers then skip all that the other copy can have used."""
    before = take(counter)
    counter.note_refused("7K2M9QXR")
    counter.note_refused("SECOND22")
    refused = take(counter)
    counter.note_accepted()
    after = take(counter)

    assert (before.refused_as, refused.refused_as, after.refused_as) == ("", "7K2M9QXR", "")
    assert before.number + 1_000_000 < refused.number < after.number
    assert before.at_ms < refused.at_ms < after.at_ms


def test_an_old_refusal_does_not_mark_a_directory_that_was_accepted_since(directory, counter):
    """With two processes, the refusal of one may arrive after the token of the other."""
    other = CounterFile(directory)
    counter.note_refused("7K2M9QXR")
    take(counter)
    take(other)
    other.note_accepted()

    counter.note_refused("SECOND22")
    assert take(counter).refused_as == ""
    counter.note_refused("THIRD333")
    assert take(counter).refused_as == "THIRD333"


def test_a_damaged_file_starts_from_one(directory, counter):
    """The Server then asks an operator, who can let the Worker continue."""
    counter.take_number()
    (directory / COUNTER_FILE).write_bytes(b"x" * 256)

    assert (take(counter).number, take(counter).number) == (1, 2)
