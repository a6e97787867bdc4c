"""The reason for which a Worker ends is where people look."""

import os
import socket

import pytest

from lyftdata.core.errors import LyftdataError, SettingsError
from lyftdata.worker.client import RefusedByServerError
from lyftdata.worker.end_report import EndReport

REFUSED = RefusedByServerError(
    "This Worker was superseded.", reference="7K2M9QXD", cause_code="superseded", remedy="Enroll again."
)
SAID = "The Server refused this Worker for good (superseded): This Worker was superseded. Reference 7K2M9QXD. Enroll again."


@pytest.fixture
def message(tmp_path):
    """Return the file of a container's termination message, as the runtime makes it."""
    file = tmp_path / "termination-log"
    file.write_text("of the container before, which was longer " * 9)
    return file


def test_a_refusal_for_good_is_in_the_termination_message(message):
    """With its cause, its reference and what to do; what was there before is gone."""
    EndReport({"LYFTDATA_TERMINATION_LOG": f" {message} "}).refused(REFUSED)

    assert message.read_text() == SAID


def test_each_fault_of_the_settings_is_a_line_of_it(message):
    """Kubernetes shows 4,096 bytes of it."""
    report = EndReport({"LYFTDATA_TERMINATION_LOG": str(message)})
    report.failed(SettingsError(["A: is wrong.\x1b[2J", "B: is missing."]))
    assert message.read_text().splitlines()[1] == "B: is missing."
    assert "\x1b" not in message.read_text()

    report.failed(SettingsError([f"LYFTDATA_{n}: {'é' * 300}" for n in range(20)]))
    assert message.stat().st_size == 4096


def test_systemd_is_told_too(tmp_path):
    """After everything else, so that `systemctl status` goes on showing it."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        EndReport({"NOTIFY_SOCKET": address}).refused(REFUSED)

        assert systemd.recv(4096).decode() == f"STATUS=Ended: {SAID}"


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe", "link"])
def test_nothing_but_a_file_that_is_there_is_written(tmp_path, kind):
    """None is made, a pipe without a reader does not block, and a link is not followed."""
    path = tmp_path / "there"
    other = tmp_path / "other"
    other.write_text("other")
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(other)

    EndReport({"LYFTDATA_TERMINATION_LOG": str(path)}).failed(LyftdataError("No."))

    assert other.read_text() == "other"
    assert path.exists() is (kind != "missing")
