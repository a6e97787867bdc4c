"""What a soak test is made of: PostgreSQL with a standby, two Servers behind HAProxy, real agents and a crowd of light Workers."""

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
    PostgreSQL and a synchronous standby on one disk, and what happens to them.

    Args:
        volume: Their disk.
        clock: Theirs.
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
        """Return the URL by which the Servers find whichever of the two takes writes."""
        hosts = "&".join(f"host=127.0.0.1:{each.port}" for each in (self.primary, self.standby))
        return (
            f"postgresql://owner:{self.primary.password}@/{self.name}?{hosts}&target_session_attrs=read-write"
        )

    def restart(self, mode: str) -> None:
        """Stop the primary, in order (`fast`) or as a crash would (`immediate`), and start it."""
        self.primary.stop(mode)
        self.primary.start()

    def fail_over(self) -> None:
        """Lose the primary for ever, promote its standby, and make another standby where the primary was."""
        lost, self.primary = self.primary, self.standby
        port = lost.port
        lost.close()
        self.primary.promote()
        until(self.primary.answers, "the standby has taken over")
        self.standby = Standby(self.primary, place=self.volume.root, port=port)

    def heal(self) -> None:
        """Start whichever has ended for want of room."""
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
    All of it, started.

    Args:
        root: An empty directory.
        stack: What ends it, in reverse order.
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
        """Start a real agent on a host of its own, with a program that it runs."""
        host = self.site.worker_host(f"host-{worker_id}", **environ, **self.clock.environ())
        self.agents[worker_id] = Member(worker_id, host)
        return self.agents[worker_id]

    def step_clock(self, hours: int) -> None:
        """Put every clock forward, and wait until each program has read it: what is for two hours from now would end at once."""
        self.offset_h += hours
        self.clock.put(f"+{self.offset_h}h")
        time.sleep(3 * CLOCK_READ_EVERY_S)

    def restart_server(self, number: int, *, kill: bool) -> None:
        """End a Server, in order or by SIGKILL, and start it."""
        server = self.site.servers[number]
        if kill:
            server.kill()
        else:
            assert server.terminate() == 0, server.log[-2000:]
        self.site.servers[number] = self.site.start_server(number)

    def pause_server(self, number: int) -> Program:
        """Stop a Server in the middle of whatever it does; SIGCONT lets it go on."""
        server = self.site.servers[number]
        server.process.send_signal(signal.SIGSTOP)
        return server

    def measures(self) -> list[tuple[int, int]]:
        """Return resident memory in bytes and the number of open files of each Server; zeros for one that is being started."""
        return [_measure(server) for server in self.site.servers]


def _measure(server: Program) -> tuple[int, int]:
    try:
        return memory_of(server.process.pid), sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())
    except (OSError, ValueError):
        return 0, 0
