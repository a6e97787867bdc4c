"""The programs of a soak test: PostgreSQL with a standby, two Servers behind HAProxy, real agents and many light Workers."""

import contextlib
import signal
import time
from pathlib import Path

from tests.behaviour.chaos.field import memory_of
from tests.behaviour.chaos.fleet import Member
from tests.behaviour.chaos.volume import Volume, small_volume
from tests.behaviour.several_servers.balanced import Balanced
from tests.false_clock import FalseClock
from tests.postgres import Cluster, Standby
from tests.processes import PASSWORD, Program, end_started, until
from tests.soak.admin_api import AdminApi
from tests.soak.crowd_process import CrowdProcess

_DISK_MB = 1500
CLOCK_READ_EVERY_S = 1


class Databases:
    """
    PostgreSQL and a synchronous standby on one disk, and the faults that they have.

    Args:
        volume: Their disk.
        clock: Their clock.
    """

    def __init__(self, volume: Volume, clock: FalseClock) -> None:
        self.volume = volume
        first = Cluster(
            volume.root,
            environ=clock.environ(),
            min_wal_size="8MB",
            max_wal_size="32MB",
            max_connections="60",
        )
        self.primary: Cluster | Standby = first
        self.name = first.new_database().rpartition("/")[2]
        self.standby = Standby(first, place=volume.root)

    @property
    def url(self) -> str:
        """Return the URL with which the Servers find the one that accepts writes."""
        hosts = "&".join(f"host=127.0.0.1:{each.port}" for each in (self.primary, self.standby))
        return (
            f"postgresql://owner:{self.primary.password}@/{self.name}?{hosts}&target_session_attrs=read-write"
        )

    def restart(self, mode: str) -> None:
        """Stop the primary, cleanly (`fast`) or like a crash (`immediate`), and start it."""
        self.primary.stop(mode)
        self.primary.start()

    def fail_over(self) -> None:
        """Lose the primary permanently, promote its standby, and make a new standby on the primary's port."""
        lost, self.primary = self.primary, self.standby
        port = lost.port
        lost.close()
        self.primary.promote()
        until(self.primary.answers, "the standby has taken over")
        self.standby = Standby(self.primary, place=self.volume.root, port=port)

    def heal(self) -> None:
        """Restart those that ended because the disk was full."""
        for each in (self.primary, self.standby):
            if not each.answers():
                with contextlib.suppress(AssertionError):
                    each.stop("immediate")
                each.start()

    def close(self) -> None:
        """End both."""
        for each in (self.primary, self.standby):
            each.close()


class Stage:
    """
    All programs, started.

    Args:
        root: An empty directory.
        stack: Ends the programs, in reverse order.
    """

    def __init__(self, root: Path, stack: contextlib.ExitStack) -> None:
        self.root = root
        self.offset_h = 0
        self.clock = FalseClock(root / "clock", "+0h", read_every_s=CLOCK_READ_EVERY_S)
        volume = stack.enter_context(small_volume(_DISK_MB))
        self.databases = Databases(volume, self.clock)
        stack.callback(self.databases.close)
        stack.callback(end_started)
        url = self.databases.url
        self.site = Balanced(
            root / "site",
            [url, url],
            check_timeout="10s",
            LYFTDATA_WORKER_TOKEN_TTL="10m",
            **self.clock.environ(),
        )
        stack.callback(self.site.close)
        self.api = AdminApi(self.site.url, PASSWORD)
        stack.callback(self.api.close)
        self.crowd = CrowdProcess(self.site.port, self.clock.environ(), root / "crowd.log")
        stack.callback(self.crowd.close)
        self.agents: dict[str, Member] = {}

    def start_agent(self, worker_id: str, **environ: str) -> Member:
        """Start a real agent on its own host, which runs a program."""
        host = self.site.worker_host(f"host-{worker_id}", **environ, **self.clock.environ())
        self.agents[worker_id] = Member(worker_id, host)
        return self.agents[worker_id]

    def step_clock(self, hours: int) -> None:
        """Move every clock forward, and wait until each program has read it, since a two-hour span would otherwise end immediately."""
        self.offset_h += hours
        self.clock.put(f"+{self.offset_h}h")
        time.sleep(3 * CLOCK_READ_EVERY_S)

    def restart_server(self, number: int, *, kill: bool) -> None:
        """Stop a Server, cleanly or with SIGKILL, and start it."""
        server = self.site.servers[number]
        if kill:
            server.kill()
        else:
            assert server.terminate() == 0, server.log[-2000:]
        self.site.servers[number] = self.site.start_server(number)

    def pause_server(self, number: int) -> Program:
        """Suspend a Server, whatever it is doing; SIGCONT resumes it."""
        server = self.site.servers[number]
        server.process.send_signal(signal.SIGSTOP)
        return server

    def measures(self) -> list[tuple[int, int]]:
        """Return resident memory in bytes and number of open files of each Server; zeros for one that is being started."""
        return [_measure(server) for server in self.site.servers]


def _measure(server: Program) -> tuple[int, int]:
    try:
        return memory_of(server.process.pid), sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())
    except (OSError, ValueError):
        return 0, 0
