"""Workers of both strategies whose programs leave a line each time that they are started."""

import json
from pathlib import Path

from tests.builders import ENROLLMENT_KEY
from tests.processes import Host, Program, until

RUNS = ("sh", "-c", 'printf %s "$LYFTDATA_WORKER_TOKEN_FILE" > where; echo started >> runs; exec sleep 1000')
WITHIN_S = 90.0
"""For what happens within a few seconds on a machine that has nothing else to do."""


class Member:
    """A Worker on a host of its own, which nobody touches."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.agent = self.start()

    def start(self) -> Program:
        """Start its agent; what was started before has ended."""
        self.agent = self.host.start("run", "worker", "--", *RUNS)
        return self.agent

    @property
    def run_count(self) -> int:
        """Return how often its program was started."""
        file = self.host.home / "runs"
        return file.read_text(encoding="utf-8").count("started") if file.exists() else 0

    @property
    def token(self) -> str:
        """Return what its program reads from the token file."""
        return Path((self.host.home / "where").read_text(encoding="utf-8")).read_text(encoding="utf-8")


def keyed(operator: Host, name: str) -> dict[str, str]:
    """Add a Worker with a key of its own; return what its host is given."""
    key = operator.done("workers", "add", name, "--id", name, "--issue-key").strip()
    return {"LYFTDATA_WORKER_ID": name, "LYFTDATA_WORKER_API_KEY": key}


def enrolling(name: str) -> dict[str, str]:
    """Return what the host of a Worker is given that enrolls."""
    return {"LYFTDATA_WORKER_NAME": name, "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}


def statuses(operator: Host) -> dict[str, str]:
    """Return each Worker's status by name; nothing while the Server does not answer."""
    result = operator.run("workers", "list", "--json")
    if result.returncode != 0:
        return {}
    return {worker["name"]: worker["status"] for worker in json.loads(result.stdout)}


def wait_until_all_are(operator: Host, members: list[Member], status: str = "online") -> None:
    """Wait until the Server shows them so, and the programs of those that are online run."""
    wanted = dict.fromkeys((member.name for member in members), status)
    until(
        lambda: wanted.items() <= statuses(operator).items(),
        f"all are {status}",
        within_s=WITHIN_S,
        every_s=0.3,
    )
    if status == "online":
        # The Server knows a moment before the Worker does.
        until(lambda: all(member.run_count for member in members), "their programs run", within_s=WITHIN_S)


def nobody_was_touched(members: list[Member]) -> bool:
    """Return whether each program was started once and never ended, and each agent still runs."""
    return all(member.run_count == 1 and member.agent.alive() for member in members)
