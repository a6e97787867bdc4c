"""Describes for people by how much two clocks differ."""

from datetime import timedelta

from lyftdata.core.durations import format_duration


def too_late(seconds: float) -> str:
    """Say that something ended this many seconds ago."""
    return f"It ended {_format(seconds)} ago by the Server's clock: the Worker's clock is behind, or it was kept back."


def too_soon(seconds: float) -> str:
    """Say that something begins only in this many seconds."""
    return f"It begins in {_format(seconds)} by the Server's clock: the Worker's clock is ahead."


def _format(seconds: float) -> str:
    return format_duration(timedelta(seconds=max(1, round(seconds))))
