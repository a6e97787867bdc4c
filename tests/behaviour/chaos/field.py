"""Two Servers with four Workers and a load of enrollments, for fault injection, and the checks after a fault."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.behaviour.chaos import report
from tests.behaviour.chaos.enrolling import Enroller
from tests.behaviour.chaos.scale import ENROLLMENTS
from tests.behaviour.several_servers.balanced import (
    NAMES,
    Balanced,
    are_all_online,
    run_count,
    start_workers,
)
from tests.processes import end_started, until

LASTS_S = 4.0
MAX_MEMORY = 400 * 1024 * 1024


class Field:
    """
    Two Servers behind a balancer with four real Workers, and a load that is running.

    Args:
        site: The Servers.
        load: The process that enrolls further Workers.
        acknowledged: Name and ID of each enrollment that was acknowledged to the load.
    """

    def __init__(self, site: Balanced, load: Enroller, acknowledged: set[tuple[str, str]]) -> None:
        self.site = site
        self.load = load
        self.acknowledged = acknowledged


@contextlib.contextmanager
def two_servers(root: Path, urls: Sequence[str]) -> Iterator[Balanced]:
    """Yield two Servers behind a balancer; the URLs lead to one database."""
    with contextlib.ExitStack() as stack:
        # The Servers stop before the path to their database.
        stack.callback(end_started)
        site = Balanced(root / "site", urls, check_timeout="3s")
        stack.callback(site.close)
        yield site


@contextlib.contextmanager
def field_under_load(root: Path, urls: Sequence[str]) -> Iterator[Field]:
    """Yield two Servers with four Workers and a load; the URLs lead to one database."""
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(two_servers(root, urls))
        start_workers(site)
        acknowledged: set[tuple[str, str]] = set()
        place = root / "enrolling"
        place.mkdir()
        load = Enroller(site.url, place, acknowledged, ENROLLMENTS)
        stack.callback(load.end, kill=True)
        until(lambda: acknowledged, "the load has begun")
        yield Field(site, load, acknowledged)


def check_recovery(field: Field, name: str, fault: contextlib.AbstractContextManager[None]) -> None:
    """Inject a fault for a while, and check that everything recovers by itself and nothing acknowledged is lost."""
    begun = time.monotonic()
    with fault:
        time.sleep(LASTS_S)
    ended = time.monotonic()
    until(lambda: are_all_online(field.site), "everybody is online", within_s=240)
    recovered = time.monotonic()
    assert field.load.end(kill=False) == 0

    entries = field.site.ask("workers", "list")
    there = {(entry["name"], entry["id"]) for entry in entries if entry["name"] not in NAMES}
    ended_programs = [name for name in NAMES if run_count(field.site, name) != 1]
    report.record(
        fault=name,
        load=f"{ENROLLMENTS} enrollments, 8 at once; 4 connected Workers",
        lasted_s=round(ended - begun, 1),
        acknowledged=len(field.acknowledged),
        lost=len(field.acknowledged - there),
        programs_ended=len(ended_programs),
        recovered_s=round(recovered - ended, 1),
    )
    assert len(field.acknowledged) == ENROLLMENTS
    assert there == field.acknowledged
    assert ended_programs == []
    assert field.site.ask("audit", "verify")["ok"]
    assert all(memory_of(server.process.pid) < MAX_MEMORY for server in field.site.servers)


def memory_of(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024
