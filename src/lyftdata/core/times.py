"""Formats times for people, finds them in sentences, and parses those that people type."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError


def format_time(at: datetime) -> str:
    """Return a time in seconds, with its zone: `2026-11-28 16:02:41 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_minute(at: datetime | None) -> str:
    """Return a time to the minute, with its zone, for a sentence: `2026-11-28 16:02 UTC`; "" for None."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


# The formats of the two functions above, and of `isoformat`, which older events of the audit log use.
_IN_TEXT = re.compile(
    r"(?<![\d.-])\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?P<seconds>:\d\d(?:\.\d{1,6})?)?(?: UTC(?![+-])|\+00:00|Z)(?!\w)"
)


def split_times(text: str) -> Iterator[str | tuple[datetime, bool]]:
    """
    Yield a text in parts: each UTC time as a datetime and whether it has seconds, and the text between them as it is.

    Sentences are stored and sent with times in UTC. This is only for displaying them in another zone.
    """
    done = 0
    for found in _IN_TEXT.finditer(text):
        try:
            at = datetime.fromisoformat(found[0].removesuffix(" UTC"))
        except ValueError:
            continue
        yield text[done : found.start()]
        yield at.replace(tzinfo=UTC), found["seconds"] is not None
        done = found.end()
    yield text[done:]


def parse_moment(text: str, *, now: datetime, ahead: bool) -> datetime:
    """
    Parse a time such as `2026-03-01T12:00Z`, which is UTC if it names no zone, or a duration such as `24h`, counted from now.

    Args:
        text: As typed.
        now: Aware UTC time.
        ahead: Whether a duration means from now, and not ago.

    Raises:
        ValueError: Neither, or a time that cannot be converted to UTC.
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
