"""Shared by the rotations of API keys and of enrollment keys: the options for the end of the old key, and its description."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import click

from lyftdata.client.server_clock import utc_now
from lyftdata.core.durations import format_duration, parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.key_generations import end_of_previous
from lyftdata.core.times import format_time

Command = TypeVar("Command", bound=Callable[..., Any])


def previous_end_options(command: Command) -> Command:
    """Add `--grace` and `--until` to a command that rotates a key."""
    until = click.option(
        "--until",
        metavar="TIME",
        help="Until when the old key still works: ISO 8601 with a zone, for example 2027-01-31T06:00Z.",
    )
    grace = click.option(
        "--grace",
        metavar="DURATION",
        help="How long the old key still works, for example 24h; 0s if not given.",
    )
    return grace(until(command))


class PreviousEnd(NamedTuple):
    """When the old key stops working: as fields of the request, and as text."""

    body: dict[str, Any]
    words: str


def parse_previous_end(
    grace: str | None, until: str | None, *, now: Callable[[], datetime] = utc_now
) -> PreviousEnd:
    """
    Parse `--grace` and `--until`, and reject values before the confirmation that the Server would reject after it.

    Args:
        grace: The option as typed.
        until: The option as typed.
        now: For tests: this host's time, aware UTC.

    Raises:
        click.UsageError: Both are given, one cannot be read, or the end has passed or is too far away.
    """
    if grace is not None and until is not None:
        raise click.UsageError("--grace cannot be combined with --until: give one of them.")
    if until is not None:
        ends_at = _parse_time(until)
        _check_end("--until", now=now(), ends_at=ends_at)
        return PreviousEnd({"ends_at": ends_at.isoformat()}, f"at {format_time(ends_at)}")
    seconds = 0 if grace is None else _parse_seconds(grace)
    _check_end("--grace", now=now(), grace=timedelta(seconds=seconds))
    return PreviousEnd({"grace_s": seconds}, f"in {grace}" if seconds else "at once")


def _check_end(
    option: str, *, now: datetime, grace: timedelta | None = None, ends_at: datetime | None = None
) -> None:
    try:
        end_of_previous(now=now, grace=grace, ends_at=ends_at)
    except InvalidInputError as error:
        raise click.UsageError(f"{option} {error.message}") from error


def ends_in(old: dict[str, Any]) -> str:
    """Return how long an older generation still works."""
    if old["ends_in_s"] is None:
        return "has no end"
    return f"ends in {format_duration(timedelta(seconds=old['ends_in_s']))}"


def _parse_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise click.UsageError(
            "--until must be a time in ISO 8601 with its zone, for example 2027-01-31T06:00Z or 2027-01-31T07:00+01:00."
        )
    return time


def _parse_seconds(text: str) -> int:
    try:
        return int(parse_duration(text).total_seconds())
    except InvalidInputError as error:
        raise click.UsageError(f"--grace {error.message}") from error
