"""Times in sentences are written in one format, and found again to be shown in another zone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from lyftdata.core.times import format_minute, format_time, split_times

AT = datetime(2026, 3, 1, 12, 30, 15, 250, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "at", "has_seconds"),
    [
        (format_time(AT), AT.replace(microsecond=0), True),
        (format_time(AT.astimezone(BERLIN)), AT.replace(microsecond=0), True),
        (format_minute(AT), AT.replace(second=0, microsecond=0), False),
        (AT.isoformat(), AT, True),
        ("2026-03-01T12:30Z", AT.replace(second=0, microsecond=0), False),
    ],
)
def test_times_within_a_sentence_are_found(text, at, has_seconds):
    """Whatever the text around them is, and if there are several."""
    assert list(split_times(f"from {text}, <until> {text}.")) == [
        "from ",
        (at, has_seconds),
        ", <until> ",
        (at, has_seconds),
        ".",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no time",
        "2026-03-01 12:30",
        "2026-03-01 12:30 UTC+1",
        "2026-03-01T12:30:15+01:00",
        "2026-13-01 12:30 UTC",
        "2026-03-01 25:00 UTC",
        "0000-03-01 12:30 UTC",
        "12026-03-01 12:30 UTC",
        "2026-03-01 12:30 UTCX",
        "2026-03-01",
    ],
)
def test_text_that_is_not_a_utc_time_is_left_alone(text):
    """A time in another zone, a date that does not exist, and text that only looks like a time."""
    assert "".join(part for part in split_times(text) if isinstance(part, str)) == text
