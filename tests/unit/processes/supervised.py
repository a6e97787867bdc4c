"""

A supervisor with processes that are not Servers: they print what happens to them, one JSON object per line.

    python -m tests.unit.processes.supervised COUNT STOP_WITHIN_S [NUMBER=HOW ...]

HOW is what one of the processes does: `fails` (exits with code 5 before it is ready), `once` (does that when it is restarted),
`hangs` (blocks its event loop once it is ready), `stays` (does not stop), `unready` (never becomes ready). On SIGUSR1, a process
prints the metrics of all.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from lyftdata.log import configure_logging
from lyftdata.processes.link import SupervisorLink
from lyftdata.processes.merged_metrics import merge_metrics
from lyftdata.processes.supervisor import Supervisor
from lyftdata.service_manager import Notifier


def say(**what: object) -> None:
    """Print a line in one write, since several processes share the output."""
    os.write(1, json.dumps(what).encode() + b"\n")


class Serving:
    """Stands in for a Server that serves."""

    def __init__(self, link: SupervisorLink, *, stays: bool) -> None:
        self._link = link
        self._stays = stays
        self.over = asyncio.Event()

    def stop(self, siblings: frozenset[str]) -> None:
        """Stop, unless this process is one that stays."""
        say(said="stop", number=self._link.number, siblings=sorted(siblings))
        if not self._stays:
            self.over.set()

    def hurry(self) -> None:
        """Note a second signal."""
        say(said="hurry", number=self._link.number)


def metrics_of(number: int) -> bytes:
    """Return the metrics of one process."""
    return f"# HELP t_total Some.\n# TYPE t_total counter\nt_total {number}.0\n".encode()


async def print_metrics(link: SupervisorLink) -> None:
    """Print what Prometheus would get."""
    texts = {**await link.collect_metrics(), link.number: metrics_of(link.number).decode()}
    say(said="metrics", number=link.number, text=merge_metrics(texts).decode())


async def serve(link: SupervisorLink, how: str) -> int:
    """Act as one process, as `how` says."""
    say(said="started", number=link.number, pid=os.getpid())
    was_here = Path(f"was-{link.number}")
    if how == "fails" or (how == "once" and was_here.exists()):
        return 5
    was_here.touch()
    if how == "unready":
        await asyncio.sleep(1_000)
    server = Serving(link, stays=how == "stays")
    tasks = []
    async with link.connected(server, lambda: metrics_of(link.number)):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGUSR1, lambda: tasks.append(asyncio.create_task(print_metrics(link)))
        )
        link.notify(READY="1", STATUS="Ready.", X_SERVER=f"{link.number}-{os.getpid()}")
        tasks.append(asyncio.create_task(link.notify_watchdog()))
        if how == "hangs" and not Path("hung").exists():
            await asyncio.sleep(0)
            Path("hung").touch()
            time.sleep(1_000)  # blocks the event loop
        await server.over.wait()
    say(said="ended", number=link.number)
    return 0


def main() -> int:
    """Run the supervisor and the processes that it forks."""
    count, stop_within_s, *assignments = sys.argv[1:]
    hows = dict(assignment.split("=") for assignment in assignments)
    configure_logging(format="json", level="info")
    outcome = Supervisor(
        count=int(count),
        notifier=Notifier(os.environ),
        stop_within_s=float(stop_within_s),
        stop_listening=lambda: say(said="stopped listening"),
        random=lambda: 0.0,
    ).run()
    if isinstance(outcome, int):
        return outcome
    return asyncio.run(serve(outcome, hows.get(str(outcome.number), "")))


if __name__ == "__main__":
    sys.exit(main())
