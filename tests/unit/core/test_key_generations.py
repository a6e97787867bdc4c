"""Tests of what API keys and enrollment keys share: how long they live, and what a rotation does."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from lyftdata.core.errors import InvalidInputError, NotFoundError
from lyftdata.core.key_generations import check_grace, check_life, end_after_rotation, newest_generation
from lyftdata.core.records import ApiKeyRecord, EnrollmentKeyRecord

NOW = datetime(2026, 11, 29, tzinfo=UTC)
HOUR = timedelta(hours=1)
API_KEY = ApiKeyRecord(
    public_id="a",
    name="press-keys",
    digest=b"",
    for_all_workers=True,
    created_at=NOW,
    created_by="operator:ada",
)
ENROLLMENT_KEY = EnrollmentKeyRecord(
    public_id="a", name="etl-hosts", digest=b"", public_key="", created_at=NOW, created_by="operator:ada"
)


@pytest.mark.parametrize("key", [API_KEY, ENROLLMENT_KEY])
@pytest.mark.parametrize(
    ("expires_at", "after"),
    [(None, NOW + HOUR), (NOW + 2 * HOUR, NOW + HOUR), (NOW, NOW), (NOW + HOUR, NOW + HOUR)],
)
def test_an_older_generation_ends_with_the_grace_unless_it_ends_earlier(key, expires_at, after):
    """A rotation never makes a key live longer."""
    older = msgspec.structs.replace(key, expires_at=expires_at)

    ended = end_after_rotation(older, rotated_at=NOW, ends_at=NOW + HOUR)

    assert (ended.expires_at, ended.rotated_at) == (after, NOW)


def test_a_second_rotation_keeps_when_a_generation_was_first_rotated():
    """Operators read since when hosts should have the new key."""
    once = end_after_rotation(API_KEY, rotated_at=NOW, ends_at=NOW + HOUR)

    assert end_after_rotation(once, rotated_at=NOW + HOUR, ends_at=NOW + 2 * HOUR) == once


def test_a_rotation_does_not_change_a_revoked_generation():
    """The record says what happened to it."""
    revoked = msgspec.structs.replace(ENROLLMENT_KEY, revoked_at=NOW)

    assert end_after_rotation(revoked, rotated_at=NOW, ends_at=NOW + HOUR) == revoked


def test_the_newest_generation_has_the_highest_number():
    """Whatever their order."""
    newer = msgspec.structs.replace(API_KEY, generation=2)

    assert newest_generation([newer, API_KEY], kind="api_key", name="press-keys") == newer


def test_a_key_without_generations_does_not_exist():
    """The error says of which kind it would be."""
    with pytest.raises(NotFoundError) as raised:
        newest_generation([], kind="enrollment_key", name="etl-hosts")

    assert "etl-hosts" in raised.value.message


@pytest.mark.parametrize("life", [timedelta(0), -HOUR, timedelta(days=3650, seconds=1)])
def test_a_life_of_nothing_or_of_more_than_ten_years_is_refused(life):
    """A key without an end is asked for by None."""
    with pytest.raises(InvalidInputError, match="3650 days"):
        check_life(life)
    check_life(None)
    check_life(timedelta(days=3650))


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), timedelta(days=90, seconds=1)])
def test_a_grace_period_is_at_most_90_days(grace):
    """Longer, and the old key is not being replaced."""
    with pytest.raises(InvalidInputError, match="90 days"):
        check_grace(grace)
    check_grace(timedelta(0))
    check_grace(timedelta(days=90))
