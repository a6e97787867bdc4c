"""The rules that hold while nothing is broken: exactly the expected Workers are connected, and nothing acknowledged is lost."""

import time
from pathlib import Path

from tests.behaviour.chaos.fleet import Member
from tests.soak.actions import ViolationError, Week

_SETTLED_WITHIN_S = 300.0
# The other Server may answer, which learns of a change a moment later, or seconds later on a busy machine.
_KNOWN_EVERYWHERE_WITHIN_S = 10.0
# Like a unit with Restart=always.
_RESTART_AFTER_S = 5.0


def settle(week: Week) -> float:
    """
    Wait until exactly the expected Workers are connected; return how many seconds that took.

    Raises:
        ViolationError: It took too long, or a Worker was admitted that should be refused.
    """
    begun = time.monotonic()
    managed = ServiceManager()
    while True:
        managed.restart_ended(week)
        week.require_no_breach()
        wrong = _in_the_wrong_place(week)
        if not wrong:
            return time.monotonic() - begun
        if time.monotonic() - begun > _SETTLED_WITHIN_S:
            raise ViolationError("not where they should be", wrong)
        time.sleep(0.5)


def check_state(week: Week) -> None:
    """
    Compare the Servers' state with what they have acknowledged, and verify the audit log.

    Raises:
        ViolationError: The state differs from what was acknowledged, or the audit log is not intact.
    """
    deadline = time.monotonic() + _KNOWN_EVERYWHERE_WITHIN_S
    while (difference := _find_difference(week)) is not None:
        if time.monotonic() > deadline:
            raise ViolationError(*difference)
        time.sleep(0.2)
    report = week.stage.api.ask("GET", "/api/audit/verify")
    if not report["ok"]:
        raise ViolationError("the audit log is not whole", [str(report)])
    tracebacks = [str(log) for log in _server_logs(week) if "Traceback" in log.read_text(errors="replace")]
    if tracebacks:
        raise ViolationError("a Server's log has a traceback", tracebacks)


def _find_difference(week: Week) -> tuple[str, list[str]] | None:
    """Return the rule that the list of Workers breaks and the Workers concerned, or None if it shows what was acknowledged."""
    shown = week.stage.api.workers()
    model = week.model.entries
    found = {
        "acknowledged and lost": [i for i, entry in model.items() if not entry.is_removed and i not in shown],
        "removed and there": [i for i, entry in model.items() if entry.is_removed and i in shown],
        "enabled or disabled, other than acknowledged": [
            i for i, entry in model.items() if i in shown and shown[i]["enabled"] == entry.is_disabled
        ],
        "there and never acknowledged": sorted(set(shown) - set(model)),
    }
    return next(((rule, ids) for rule, ids in found.items() if ids), None)


class ServiceManager:
    """Restarts agents that have ended, like systemd."""

    def __init__(self) -> None:
        self._ended_s: dict[str, float] = {}

    def restart_ended(self, week: Week) -> None:
        """Start the agents that ended a while ago."""
        now = time.monotonic()
        for worker_id, member in week.stage.agents.items():
            if member.agent.alive():
                self._ended_s.pop(worker_id, None)
            elif now - self._ended_s.setdefault(worker_id, now) > _RESTART_AFTER_S:
                member.start()


def _in_the_wrong_place(week: Week) -> list[str]:
    state = week.stage.crowd.state()
    online = set(state["online"])
    wrong = [f"the task of {worker_id} has ended: see crowd.log" for worker_id in state["ended"]]
    for entry in week.model.entries.values():
        is_in = (
            runs_its_program(week.stage.agents[entry.worker_id])
            if entry.is_agent
            else entry.worker_id in online
        )
        if is_in != entry.may_connect:
            asking = state["asking"].get(entry.worker_id)
            waits = f", waits for {asking[0]} for {time.monotonic() - asking[1]:.0f} s" if asking else ""
            wrong.append(f"{entry.worker_id} is {'in' if is_in else 'out'}{waits}")
    return wrong


def runs_its_program(member: Member) -> bool:
    """Return whether an agent's program runs: the agent has a child that is not a zombie."""
    if not member.agent.alive():
        return False
    pid = member.agent.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return any(_is_running(int(child)) for child in children)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _server_logs(week: Week) -> list[Path]:
    return sorted(week.stage.site.root.glob("server-*/*.log"))
