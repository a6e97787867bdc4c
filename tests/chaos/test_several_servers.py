"""Faults of Servers and their database, under load: nothing acknowledged is lost, and no Worker needs anybody."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.chaos import report
from tests.chaos.enrolling import Enroller
from tests.postgres import Cable, Cluster
from tests.processes import STARTED, until
from tests.several.balanced import NAMES, Balanced, everybody_is_online, run_count, start_workers

COUNT = 120
LASTS_S = 4.0
MOST_MEMORY = 400 * 1024 * 1024


class Field:
    """Two Servers with four real Workers, and a load of others that enroll; the second Server reaches the database by a cable."""

    def __init__(self, root: Path) -> None:
        self.cluster = Cluster(max_connections="30", superuser_reserved_connections="1")
        self.cable = Cable(self.cluster)
        url = self.cluster.new_database()
        self.site = Balanced(root / "site", [url, self.cable.url(url)])
        self.agents = start_workers(self.site)
        self.acknowledged: set[tuple[str, str]] = set()
        place = root / "enrolling"
        place.mkdir()
        self.load = Enroller(self.site.url, place, self.acknowledged, COUNT)
        until(lambda: self.acknowledged, "the load has begun")

    def close(self) -> None:
        """End all of it."""
        self.load.end(kill=True)
        self.site.close()
        while STARTED:
            program = STARTED.pop()
            if program.alive():
                program.process.send_signal(signal.SIGCONT)
                program.kill()
        self.cable.close()
        self.cluster.close()


@contextlib.contextmanager
def a_server_is_killed(field: Field) -> Iterator[None]:
    """As by a power cut; started again at the end."""
    field.site.servers[0].kill()
    yield
    field.site.servers[0] = field.site.start_server(0)


@contextlib.contextmanager
def a_server_hangs(field: Field) -> Iterator[None]:
    """Stopped in the middle of whatever it does, its turn at writing perhaps; it goes on at the end."""
    process = field.site.servers[0].process
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def a_server_is_cut_off(field: Field) -> Iterator[None]:
    """Nothing gets from one Server to the database or back, and nobody is told."""
    field.cable.cut()
    yield
    field.cable.mend()


@contextlib.contextmanager
def the_database_crashes(field: Field) -> Iterator[None]:
    """PostgreSQL ends at once, and recovers at its start."""
    field.cluster.stop("immediate")
    yield
    field.cluster.start()


@contextlib.contextmanager
def connections_run_out(field: Field) -> Iterator[None]:
    """Somebody else takes every connection that the database has, as they become free."""
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    field.cluster.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lyftdata'"
    )
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            taken.append(psycopg.connect(field.cluster.url("postgres")))
    yield
    for connection in taken:
        connection.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "fault",
    [a_server_is_killed, a_server_hangs, a_server_is_cut_off, the_database_crashes, connections_run_out],
    ids=lambda fault: fault.__name__,
)
def test_nothing_is_lost_and_no_worker_needs_anybody(
    tmp_path: Path, fault: Callable[[Field], contextlib.AbstractContextManager[None]]
):
    """
    Every enrollment that was acknowledged is there, once, with its event in a whole log.

    The Workers' programs go on through the fault, and their agents are online again by themselves.
    """
    field = Field(tmp_path)
    try:
        begun = time.monotonic()
        with fault(field):
            time.sleep(LASTS_S)
        ended = time.monotonic()
        until(lambda: everybody_is_online(field.site), "everybody is online", within_s=90)
        recovered = time.monotonic()
        assert field.load.end(kill=False) == 0

        entries = field.site.operator.json("workers", "list")
        there = {(entry["name"], entry["id"]) for entry in entries if entry["name"] not in NAMES}
        ended_programs = [name for name in NAMES if run_count(field.site, name) != 1]
        report.record(
            fault=fault.__name__.replace("_", " "),
            load=f"{COUNT} enrollments, 8 at once; 4 connected Workers",
            lasted_s=round(ended - begun, 1),
            acknowledged=len(field.acknowledged),
            lost=len(field.acknowledged - there),
            programs_ended=len(ended_programs),
            recovered_s=round(recovered - ended, 1),
        )
        assert len(field.acknowledged) == COUNT
        assert there == field.acknowledged
        assert ended_programs == []
        assert field.site.operator.json("audit", "verify")["ok"]
        assert all(memory_of(server.process.pid) < MOST_MEMORY for server in field.site.servers)
    finally:
        field.close()


def memory_of(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024
