"""Workers' hosts with a full or read-only disk."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.fleet import (
    WITHIN_S,
    Member,
    are_untouched,
    enrolling,
    keyed,
    measured,
    wait_until_all_are,
)
from tests.builders import ENROLLMENT_KEY
from tests.processes import Program, Site, until
from tests.small_disks import SmallDisk

from lyftdata.client.agent_source import AgentSocket


class Place:
    """A Server, and Workers that keep all their files on a small disk each."""

    def __init__(self, root: Path) -> None:
        self.disks: list[SmallDisk] = []
        self.site = Site(root, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
        self.operator = self.site.sign_in()

    def add_disk(self) -> SmallDisk:
        """Mount a small disk for a Worker."""
        self.disks.append(SmallDisk())
        return self.disks[-1]

    def add_member(self, name: str, disk: SmallDisk) -> Member:
        """Start a Worker with its own directory and its token file on a disk."""
        given = keyed(self.operator, name) if "key" in name else enrolling(name)
        given |= {"LYFTDATA_JOBS_DIR": str(disk.path / "jobs"), "XDG_RUNTIME_DIR": str(disk.path)}
        return Member(name, self.site.worker_host(name, **given))

    def close(self) -> None:
        """Unmount the disks."""
        for disk in self.disks:
            disk.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return a Server that has no Workers yet."""
    made = Place(tmp_path)
    yield made
    made.close()


def _token_file(disk: SmallDisk) -> str:
    """Return the content of the token file on a disk; empty if it does not exist."""
    return "".join(file.read_text() for file in disk.path.glob("lyftdata-*/token"))


def _token_at_socket(disk: SmallDisk) -> str:
    [socket] = disk.path.glob("lyftdata-*/token.sock")
    return AgentSocket(str(socket), wanted={}, timeout_s=30.0).fetch().access_token


def _problem_of(agent: Program, event: str) -> str:
    [entry, *_] = agent.events(event)
    return str(entry["reason"])


@pytest.mark.slow
def test_workers_recover_from_a_full_disk(place: Place):
    """
    If the disk is full when a Worker wants to enroll, the Worker sends nothing, and enrolls once there is room.

    If it is full when a Worker starts with a key or renews its token, the program runs, the socket serves the token, and the token
    file is written later.
    """
    disks = {name: place.add_disk() for name in ("new-auto", "new-key", "old-auto", "old-key")}
    old = [place.add_member(name, disks[name]) for name in ("old-auto", "old-key")]
    wait_until_all_are(place.operator, old)
    for disk in disks.values():
        disk.fill()
    begun = time.monotonic()
    new_auto, new_key = (place.add_member(name, disks[name]) for name in ("new-auto", "new-key"))

    new_auto.agent.wait_for("enrollment_blocked", within_s=WITHIN_S)
    wait_until_all_are(place.operator, [new_key, *old])
    ids = {worker["name"]: worker["id"] for worker in place.operator.json("workers", "list")}
    assert "new-auto" not in ids
    before = {name: _token_file(disks[name]) for name in disks}
    assert before["new-key"] == ""
    assert before["old-key"]
    # Their names in the token change, so each gets a new one at once.
    for member in old:
        place.operator.done("workers", "rename", ids[member.name], f"{member.name}-2")
        member.name += "-2"
    for member in (new_key, *old):
        member.agent.wait_for("token_file_write_failed", within_s=WITHIN_S)
        assert "No space left" in _problem_of(member.agent, "token_file_write_failed")
    assert "No space left" in _problem_of(new_auto.agent, "enrollment_blocked")
    for name in ("old-auto", "old-key"):
        assert before[name]
        assert _token_file(disks[name]) == before[name]
        assert _token_at_socket(disks[name]) != before[name]
    assert _token_at_socket(disks["new-key"])

    for disk in disks.values():
        disk.make_room()
    ended = time.monotonic()
    members = [new_auto, new_key, *old]
    wait_until_all_are(place.operator, members)
    for disk in disks.values():
        until(lambda d=disk: _token_file(d) == _token_at_socket(d), "the file", within_s=WITHIN_S)  # type: ignore[misc]
    report.record(
        group="Workers' hosts",
        fault="disks of Workers are full",
        load="2 connected Workers, 1 that starts, 1 that enrolls",
        lasted_s=round(ended - begun, 1),
        **measured(place.operator, members),
        recovered_s=round(time.monotonic() - ended, 1),
    )

    assert are_untouched(place.operator, members)
    for member in members:
        assert "Traceback" not in member.agent.log


@pytest.mark.slow
def test_an_enrolled_worker_starts_on_a_read_only_disk(place: Place):
    """It needs only its identity, and still no second agent can use the directory; one that is not enrolled reports the disk."""
    disk = place.add_disk()
    member = place.add_member("auto", disk)
    wait_until_all_are(place.operator, [member])
    assert member.agent.terminate() in {0, 143}
    begun = time.monotonic()
    disk.remount("ro")
    member.start()
    wait_until_all_are(place.operator, [member])
    online = time.monotonic()

    second = member.host.run("run", "worker")
    assert second.returncode == 2
    assert "LYFTDATA_JOBS_DIR" in second.stderr
    other_agent = member.host.run("run", "worker", LYFTDATA_JOBS_DIR=str(disk.path / "other"))
    assert other_agent.returncode == 1
    assert "Read-only file system" in other_agent.stderr
    assert "Traceback" not in other_agent.stderr + second.stderr + member.agent.log
    disk.remount("rw")
    report.record(
        group="Workers' hosts",
        fault="a disk of a Worker is read-only at its start",
        load="1 enrolled Worker",
        lasted_s=round(online - begun, 1),
        **measured(place.operator, [member]),
        recovered_s=0.0,
    )

    until(
        lambda: member.run_count == 2, "its program runs, once for each of its two starts", within_s=WITHIN_S
    )
    assert len(place.operator.json("workers", "list")) == 1
