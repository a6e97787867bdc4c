"""The end of disabling: how it is typed, and when it is due."""

from datetime import UTC, datetime, timedelta

import pytest

from lyftdata.core.disabling import is_due, later_end, parse_until
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.records import Strategy, WorkerRecord

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("", None),
        ("  ", None),
        ("2h", NOON + timedelta(hours=2)),
        ("1d12h", NOON + timedelta(hours=36)),
        ("2026-03-01T13:00Z", NOON + timedelta(hours=1)),
        ("2026-03-01 13:00 UTC", NOON + timedelta(hours=1)),
        ("2026-03-01T13:00", NOON + timedelta(hours=1)),
        ("2026-03-01T13:00+02:00", None),
    ],
)
def test_an_end_is_a_time_or_a_duration_from_now(text, until):
    """A time without a zone is UTC."""
    if "+02" in text:
        with pytest.raises(InvalidInputError) as caught:
            parse_until(text, now=NOON)
        assert caught.value.message == "must be in the future"
    else:
        assert parse_until(text, now=NOON) == until


@pytest.mark.parametrize(
    "text", ["soon", "2", "0s", "2026-03-01T12:00Z", "9999-12-31T23:59-23:00", "99999999d"]
)
def test_an_invalid_end_is_rejected(text):
    """Including the present moment, and a time that is out of range in UTC."""
    with pytest.raises(InvalidInputError) as caught:
        parse_until(text, now=NOON)
    assert caught.value.field == "disabled_until"


@pytest.mark.parametrize(
    ("enabled", "until", "due"),
    [
        (False, NOON, True),
        (False, NOON + timedelta(microseconds=1), False),
        (False, None, False),
        (True, NOON, False),
    ],
)
def test_disabling_ends_in_that_very_second(enabled, until, due):
    """Without an end it lasts, and a Worker that is already enabled is left alone."""
    worker = WorkerRecord(
        id="press-01",
        name="press-01",
        strategy=Strategy.API_KEY,
        enabled=enabled,
        disabled_until=until,
        created_at=NOON,
        created_by="operator:admin",
    )
    assert is_due(worker, now=NOON) is due


def test_no_end_is_the_latest_end():
    """In whichever order the two decisions were made."""
    later = NOON + timedelta(hours=1)
    assert later_end(NOON, later) == later_end(later, NOON) == later
    assert later_end(None, later) is later_end(later, None) is None
