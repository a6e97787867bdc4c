"""The reason why a Worker ended is reported where people look for it."""

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
    """Return the file of a container's termination message, as the runtime creates it."""
    file = tmp_path / "termination-log"
    file.write_text("of the container before, which was longer " * 9)
    return file


def test_a_final_refusal_is_in_the_termination_message(message):
    """With cause, reference and remedy, replacing the previous content."""
    EndReport({"LYFTDATA_TERMINATION_LOG": f" {message} "}).refused(REFUSED)

    assert message.read_text() == SAID


def test_each_settings_problem_is_a_line_of_the_termination_message(message):
    """Up to the 4,096 bytes that Kubernetes shows."""
    report = EndReport({"LYFTDATA_TERMINATION_LOG": str(message)})
    report.failed(SettingsError(["A: is wrong.\x1b[2J", "B: is missing."]))
    assert message.read_text().splitlines()[1] == "B: is missing."
    assert "\x1b" not in message.read_text()

    report.failed(SettingsError([f"LYFTDATA_{n}: {'é' * 300}" for n in range(20)]))
    assert message.stat().st_size == 4096


def test_systemd_gets_the_reason_too(tmp_path):
    """As the last status, so that `systemctl status` still shows it."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        EndReport({"NOTIFY_SOCKET": address}).refused(REFUSED)

        assert systemd.recv(4096).decode() == f"STATUS=Ended: {SAID}"


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe", "link"])
def test_only_an_existing_regular_file_is_written(tmp_path, kind):
    """No file is created, a pipe without a reader does not block, and a link is not followed."""
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
