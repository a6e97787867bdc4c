"""Formats times for people."""

from datetime import UTC, datetime


def format_time(at: datetime) -> str:
    """Return a time in seconds, with its zone: `2026-11-28 16:02:41 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
