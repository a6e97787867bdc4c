"""Workers of both strategies whose programs write a line each time they are started."""

import json
from pathlib import Path

from tests.builders import ENROLLMENT_KEY
from tests.processes import Host, Program, until

RUNS = ("sh", "-c", 'printf %s "$LYFTDATA_WORKER_TOKEN_FILE" > where; echo started >> runs; exec sleep 1000')
WITHIN_S = 300.0
"""For what takes a few seconds on an idle machine."""


class Member:
    """A Worker on its own host, whose configuration stays unchanged."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.agents: list[Program] = []
        self.start()

    @property
    def agent(self) -> Program:
        """Return the agent that was started last."""
        return self.agents[-1]

    def start(self) -> None:
        """Start its agent; the previous one must have ended."""
        self.agents.append(self.host.start("run", "worker", "--", *RUNS))

    @property
    def run_count(self) -> int:
        """Return how often its program was started."""
        file = self.host.home / "runs"
        return file.read_text(encoding="utf-8").count("started") if file.exists() else 0

    @property
    def token(self) -> str:
        """Return the content of its program's token file."""
        return Path((self.host.home / "where").read_text(encoding="utf-8")).read_text(encoding="utf-8")


def keyed(operator: Host, name: str) -> dict[str, str]:
    """Add a Worker with its own API key; return its host's settings."""
    key = operator.done("workers", "add", name, "--id", name, "--issue-key").strip()
    return {"LYFTDATA_WORKER_ID": name, "LYFTDATA_WORKER_API_KEY": key}


def enrolling(name: str) -> dict[str, str]:
    """Return the settings of a host whose Worker enrolls."""
    return {"LYFTDATA_WORKER_NAME": name, "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}


def statuses(operator: Host) -> dict[str, str]:
    """Return each Worker's status by name; empty while the Server does not answer."""
    result = operator.run("workers", "list", "--json")
    if result.returncode != 0:
        return {}
    return {worker["name"]: worker["status"] for worker in json.loads(result.stdout)}


def wait_until_all_are(operator: Host, members: list[Member], status: str = "online") -> None:
    """Wait until the Server shows this status for all members and, if it is online, until their programs run."""
    wanted = dict.fromkeys((member.name for member in members), status)
    until(
        lambda: wanted.items() <= statuses(operator).items(),
        f"all are {status}",
        within_s=WITHIN_S,
        every_s=0.3,
    )
    if status == "online":
        # The Server knows a moment before the Worker does.
        until(
            lambda: all(member.run_count >= len(member.agents) for member in members),
            "their programs run",
            within_s=WITHIN_S,
        )


def measured(operator: Host, members: list[Member]) -> dict[str, int]:
    """Return how many enrollments were acknowledged, how many of them are lost, and how many programs did not survive."""
    acknowledged = {
        str(entry["worker_id"])
        for member in members
        for agent in member.agents
        for entry in agent.events("enrolled")
    }
    there = {worker["id"] for worker in operator.json("workers", "list")}
    return {
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - there),
        "programs_ended": sum(member.run_count != len(member.agents) for member in members),
    }


def are_untouched(operator: Host, members: list[Member]) -> bool:
    """Return whether no enrollment is lost, no program was restarted, and every agent is running."""
    found = measured(operator, members)
    return found["lost"] == found["programs_ended"] == 0 and all(member.agent.alive() for member in members)
