"""SIGKILL of Server and Workers at random moments."""

import functools
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.behaviour.chaos.enrolling import Enroller
from tests.behaviour.chaos.scale import KILLED_ENROLLMENTS, KILLS
from tests.builders import ENROLLMENT_KEY
from tests.processes import STARTED, Site, until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a Server with Auto-Enrollment on and an operator who is signed in."""
    started = Site(tmp_path, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    started.sign_in()
    yield started
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.kill()


def _has_reached(acknowledged: set[tuple[str, str]], target: int) -> bool:
    return len(acknowledged) >= target


@pytest.mark.slow
def test_no_acknowledged_enrollment_is_lost_or_duplicated(site: Site, tmp_path: Path):
    """Despite random kills during many enrollments each Worker has one entry, with the ID that it got."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    acknowledged: set[tuple[str, str]] = set()
    root = tmp_path / "workers"
    root.mkdir()
    enroller = Enroller(site.url, root, acknowledged, KILLED_ENROLLMENTS)
    for _ in range(KILLS):
        target = min(
            KILLED_ENROLLMENTS, len(acknowledged) + chance.randrange(1, KILLED_ENROLLMENTS // KILLS + 6)
        )
        until(functools.partial(_has_reached, acknowledged, target), "more enrollments", within_s=240)
        time.sleep(chance.random() * 0.02)
        if chance.random() < 0.6:
            site.server.kill()
            site.start_server()
        else:
            enroller.end(kill=True)
            enroller = Enroller(site.url, root, acknowledged, KILLED_ENROLLMENTS)
    assert enroller.end(kill=False) == 0

    site.sign_in()
    entries = site.workers()
    names = [entry["name"] for entry in entries.values()]

    assert len(acknowledged) == KILLED_ENROLLMENTS, "a Worker got two IDs"
    assert {(entry["name"], worker_id) for worker_id, entry in entries.items()} == acknowledged
    assert len(names) == len(set(names)) == KILLED_ENROLLMENTS
    assert site.operator.run("audit", "verify").returncode == 0


@pytest.mark.slow
def test_a_worker_killed_repeatedly_keeps_one_identity(site: Site):
    """An agent killed at random moments of its start has one entry and is online in the end."""
    chance = random.Random(7)
    host = site.worker_host("b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    for _ in range(8):
        agent = host.start("run", "worker")
        time.sleep(0.25 + chance.random() * 0.35)
        agent.kill()

    host.start("run", "worker").wait_for("online")

    assert [w["status"] for w in site.workers().values()] == ["online"]
