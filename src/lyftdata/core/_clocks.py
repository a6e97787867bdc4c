"""Describes for operators how far two clocks differ."""

from datetime import timedelta

from lyftdata.core.durations import format_duration


def describe_expired(seconds: float) -> str:
    """Return the sentence about something that expired this many seconds ago."""
    return f"It ended {_format(seconds)} ago by the Server's clock: the Worker's clock is behind, or it was kept back."


def describe_not_yet_valid(seconds: float) -> str:
    """Return the sentence about something that becomes valid in this many seconds."""
    return f"It begins in {_format(seconds)} by the Server's clock: the Worker's clock is ahead."


def _format(seconds: float) -> str:
    return format_duration(timedelta(seconds=max(1, round(seconds))))
