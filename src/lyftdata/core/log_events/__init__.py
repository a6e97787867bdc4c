"""
The registered log events of Server, Worker and verifier.

Machines match on `name`, which is stable; people read `message`; what differs from line to line is in typed fields. The
reference page docs/reference/log-events.md is generated from here.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]


class LogEvent(msgspec.Struct, frozen=True, kw_only=True):
    """
    One kind of log line.

    Args:
        name: Stable identifier in snake_case.
        level: The level at which it is logged.
        also_level: Another level at which it may be logged.
        also_when: When it is, for the reference page.
        message: One plain sentence without variable parts.
        fields: Each field that a line may have, with what it holds.
        remedy: What an operator does about it; empty for an event that needs no action.
    """

    name: str
    level: Level
    message: str
    also_level: Level | None = None
    also_when: str = ""
    fields: Mapping[str, str] = {}
    remedy: str = ""


def events_of(namespace: Mapping[str, object]) -> list[LogEvent]:
    """Return the events that a module defines, by name."""
    return sorted(
        (value for value in namespace.values() if isinstance(value, LogEvent)), key=lambda event: event.name
    )
