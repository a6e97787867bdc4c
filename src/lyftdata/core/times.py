"""Formats times for people, and reads those that they type."""

from datetime import UTC, datetime

from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError


def format_time(at: datetime) -> str:
    """Return a time in seconds, with its zone: `2026-11-28 16:02:41 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def parse_moment(text: str, *, now: datetime, ahead: bool) -> datetime:
    """
    Read a time such as `2026-03-01T12:00Z`, which is UTC if it names no zone, or a duration such as `24h`, counted from now.

    Args:
        text: As typed.
        now: Aware UTC time.
        ahead: Whether a duration is how long from now, and not how long ago.

    Raises:
        ValueError: Neither, or a time that UTC does not have.
    """
    text = text.strip()
    try:
        at = datetime.fromisoformat(text.upper().removesuffix(" UTC"))
    except ValueError:
        try:
            span = parse_duration(text)
            return now + span if ahead else now - span
        except (InvalidInputError, OverflowError) as error:
            raise ValueError("neither a time nor a duration") from error
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not a time that UTC has") from error
