"""The registry of the audit log's actions."""

import ast
import re
from pathlib import Path

from lyftdata.core.audit_actions import AUDIT_ACTIONS
from lyftdata.core.policy import ACTIONS
from lyftdata.server.admin.alerts.watch import INCIDENTS

SOURCE = Path(__file__).parents[3] / "src" / "lyftdata"
_GROUPS = {action.partition(".")[0] for action in AUDIT_ACTIONS}
_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
# Actions of the policy table, and parts of modules' and settings' names, that look alike.
_NOT_ACTIONS = {*ACTIONS, "worker.html", "operators.name"}


def _used() -> set[str]:
    """Return the texts in rules and the Server that have the form of an action."""
    found = set()
    for folder in ("core", "server"):
        for file in (SOURCE / folder).rglob("*.py"):
            if file.name == "audit_actions.py":
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    group = node.value.partition(".")[0]
                    if _ACTION.fullmatch(node.value) and group in _GROUPS:
                        found.add(node.value)
    return found - _NOT_ACTIONS


def test_every_action_is_registered():
    """A filter of events accepts what is registered, and the reference page lists it."""
    assert _used() - set(AUDIT_ACTIONS) - {"event_destination.test"} == set()
    assert {f"alert.{kind}" for kind in INCIDENTS} <= set(AUDIT_ACTIONS)


def test_every_registered_action_is_written_somewhere():
    """A filter for an event that never comes would be a promise that is not kept."""
    composed = {action for action in AUDIT_ACTIONS if action.startswith("event_destination.")}
    composed |= {f"alert.{kind}" for kind in INCIDENTS}

    assert set(AUDIT_ACTIONS) - _used() - composed == set()
