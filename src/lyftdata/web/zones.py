"""
Times in the zone that an operator has chosen for a browser: UTC, or a zone of the IANA database by name.

The Server formats every time itself, so that pages, their updates and the axes of plots agree, even without scripts. A zone
name, not an offset: a time last month may be before a change of the clocks.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from lyftdata.core.times import format_time, split_times

UTC_NAME = "UTC"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
# Copies of the database with leap seconds are 27 seconds off, and no browser reports them.
_NO_REGIONS = ("right/", "posix/")
_MAX_NAME = 40
_SECONDS_SHOWN_FOR = timedelta(hours=1)


def find_zone(name: str) -> tzinfo | None:
    """Return the zone with a name such as `Europe/Berlin`; None if this host's database does not have it."""
    if name == UTC_NAME:
        return UTC
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or name.startswith(_NO_REGIONS):
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # A directory, another kind of file, or missing.
        return None


def zone_name(zone: tzinfo | None) -> str:
    """Return a zone's name for people."""
    return zone.key if isinstance(zone, ZoneInfo) else UTC_NAME


def clock(at: datetime, now: datetime) -> str:
    """Return a time to the second, in the zone of `now`: `2026-11-28 17:03:12 UTC+1`."""
    local = at.astimezone(now.tzinfo)
    return f"{local:%Y-%m-%d %H:%M:%S} {_offset(local)}"


def minute(at: datetime, now: datetime) -> str:
    """Return a time to the minute, in the zone of `now`: `2026-11-28 17:03 UTC+1`."""
    local = at.astimezone(now.tzinfo)
    return f"{local:%Y-%m-%d %H:%M} {_offset(local)}"


def in_column(at: datetime, now: datetime) -> str:
    """Return a time to the minute for a column whose zone is named elsewhere."""
    return f"{at.astimezone(now.tzinfo):%Y-%m-%d %H:%M}"


def local_times(text: str, now: datetime) -> Markup:
    """Return a sentence, isolated like every untrusted text, with each UTC time in it in the zone of `now`."""
    parts = [
        escape(part) if isinstance(part, str) else _as_element(part[0], now, has_seconds=part[1])
        for part in split_times(text)
    ]
    shown = Markup("").join(parts)
    return shown if text.isascii() else Markup("<bdi>{}</bdi>").format(shown)


def _as_element(at: datetime, now: datetime, *, has_seconds: bool) -> Markup:
    try:
        shown = clock(at, now) if has_seconds else minute(at, now)
    except OverflowError:  # The last day of the calendar, in a zone in which it is already the next day.
        shown = format_time(at)
    return Markup('<time datetime="{}">{}</time>').format(f"{at:%Y-%m-%dT%H:%M:%SZ}", shown)


def short(at: datetime, now: datetime) -> str:
    """
    Return the time of day to go with `2 hours ago`: as precise as that leaves open.

    Within an hour `17:03:12`, on the same day `17:03`, in the same year `28 Nov 17:03`, otherwise `2025-11-28`.
    """
    local = at.astimezone(now.tzinfo)
    if abs(at - now) < _SECONDS_SHOWN_FOR:
        return f"{local:%H:%M:%S}"
    if local.date() == now.date():
        return f"{local:%H:%M}"
    return f"{local.day} {local:%b %H:%M}" if local.year == now.year else f"{local:%Y-%m-%d}"


def in_feed(at: datetime, now: datetime) -> str:
    """Return a time in four to six characters: `17:03` within a day, else `28 Nov`."""
    local = at.astimezone(now.tzinfo)
    return f"{local:%H:%M}" if now - at < timedelta(days=1) else f"{local:%d %b}"


def _offset(local: datetime) -> str:
    """Return an offset from UTC: `UTC`, `UTC+1`, `UTC-3:30`; names such as IST mean several zones."""
    minutes = round((local.utcoffset() or timedelta()).total_seconds() / 60)
    if not minutes:
        return UTC_NAME
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")
