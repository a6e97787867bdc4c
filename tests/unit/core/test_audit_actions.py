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
# Look like audit actions, but are actions of the policy table, or parts of the names of modules and settings.
_NOT_ACTIONS = {*ACTIONS, "worker.html", "operators.name"}


def _used() -> set[str]:
    """Return the strings in `core` and `server` that look like an audit action."""
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
    """A filter of events accepts registered actions, and the reference page lists them."""
    assert _used() - set(AUDIT_ACTIONS) - {"event_destination.test"} == set()
    assert {f"alert.{kind}" for kind in INCIDENTS} <= set(AUDIT_ACTIONS)


def test_every_registered_action_is_written_somewhere():
    """Otherwise a filter could name an event that never happens."""
    composed = {action for action in AUDIT_ACTIONS if action.startswith("event_destination.")}
    composed |= {f"alert.{kind}" for kind in INCIDENTS}

    assert set(AUDIT_ACTIONS) - _used() - composed == set()
