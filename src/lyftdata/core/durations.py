"""Parses and formats durations: `90d`, `15m`, `1h30m`."""

import re
from datetime import timedelta

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.text import count

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_MAX_S = 36_500 * 86_400
_PART = re.compile(r"(\d{1,9})([smhd])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> timedelta:
    """
    Read a duration: numbers with `s`, `m`, `h` or `d`, added up.

    Raises:
        InvalidInputError: Anything else; also a bare number, which has no unit, and more than 36,500 days.
    """
    cleaned = text.strip().lower()
    if not cleaned.isascii() or not _WHOLE.fullmatch(cleaned):
        raise InvalidInputError("duration", "must be like 30s, 15m, 12h, 90d or 1h30m")
    seconds = sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(cleaned))
    # Denial of service: subtracting a longer one could leave the range of datetime, which would be an unhandled error.
    if seconds > _MAX_S:
        raise InvalidInputError("duration", "must be at most 36500d")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return the shortest equivalent form, in whole seconds: `1h30m`; `0s` for zero."""
    left_s = max(0, int(duration.total_seconds()))
    parts = []
    for unit, unit_s in _UNITS_S.items():
        number, left_s = divmod(left_s, unit_s)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def describe_span(span: timedelta) -> str:
    """Return a length of time in its largest units: `7 days`, `1 hour 30 minutes`, `no time`."""
    left_s, parts = max(0, int(span.total_seconds())), []
    for unit_s, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        number, left_s = divmod(left_s, unit_s)
        if number:
            parts.append(count(number, noun))
    return " ".join(parts[:2]) or "no time"


def largest_unit(seconds: float) -> tuple[int, str]:
    """Return a number of seconds in its largest unit, rounded down, for relative times: `(3, "h")`."""
    for unit, unit_s in _UNITS_S.items():
        if seconds >= unit_s:
            return int(seconds // unit_s), unit
    return 0, "s"


def nearest_unit(seconds: float) -> tuple[int, str]:
    """Return a number of seconds in its largest unit, rounded to nearest, for times ahead: a session of 12 hours that just began ends in 12, not 11."""
    _, unit = largest_unit(seconds)
    return largest_unit(seconds + _UNITS_S[unit] / 2)
