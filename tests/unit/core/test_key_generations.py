"""What API keys and enrollment keys share: lifetimes and rotations."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from lyftdata.core.errors import InvalidInputError, NotFoundError
from lyftdata.core.key_generations import (
    MAX_GRACE,
    check_life,
    end_generations,
    end_of_previous,
    newest_generation,
    seconds_until,
)
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
def test_an_older_generation_ends_with_the_grace_period_or_earlier(key, expires_at, after):
    """A rotation never prolongs a key."""
    older = msgspec.structs.replace(key, expires_at=expires_at)

    (ended,), _ = end_generations([older], rotated_at=NOW, ends_at=NOW + HOUR)

    assert (ended.expires_at, ended.rotated_at) == (after, NOW)


def test_a_second_rotation_keeps_when_a_generation_was_first_rotated():
    """Operators read since when hosts should have the new key."""
    once = end_generations([API_KEY], rotated_at=NOW, ends_at=NOW + HOUR).changed

    assert end_generations(once, rotated_at=NOW + HOUR, ends_at=NOW + 2 * HOUR) == ([], once)


def test_a_rotation_does_not_change_a_revoked_generation():
    """Its record keeps what happened to it."""
    revoked = msgspec.structs.replace(ENROLLMENT_KEY, revoked_at=NOW)

    assert end_generations([revoked], rotated_at=NOW, ends_at=NOW + HOUR) == ([], [revoked])


def test_the_newest_generation_has_the_highest_number():
    """In whatever order they are listed."""
    newer = msgspec.structs.replace(API_KEY, generation=2)

    assert newest_generation([newer, API_KEY], kind="api_key", name="press-keys") == newer


def test_a_key_without_generations_does_not_exist():
    """The error names the key."""
    with pytest.raises(NotFoundError) as raised:
        newest_generation([], kind="enrollment_key", name="etl-hosts")

    assert "etl-hosts" in raised.value.message


@pytest.mark.parametrize("life", [timedelta(0), -HOUR, timedelta(days=3650, seconds=1)])
def test_a_lifetime_is_positive_and_at_most_ten_years(life):
    """None means that the key does not expire."""
    with pytest.raises(InvalidInputError, match="3650 days"):
        check_life(life)
    check_life(None)
    check_life(timedelta(days=3650))


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ({}, NOW),
        ({"grace": timedelta(0)}, NOW),
        ({"grace": HOUR}, NOW + HOUR),
        ({"grace": MAX_GRACE}, NOW + MAX_GRACE),
        ({"ends_at": NOW + timedelta(microseconds=1)}, NOW + timedelta(microseconds=1)),
        ({"ends_at": NOW + MAX_GRACE}, NOW + MAX_GRACE),
        ({"ends_at": datetime(2026, 11, 29, 3, tzinfo=timezone(2 * HOUR))}, NOW + HOUR),
    ],
)
def test_the_old_generation_ends_after_the_grace_period_or_at_the_given_time(given, end):
    """With neither it ends at once; the zone of the time does not matter."""
    assert end_of_previous(now=NOW, **given) == end


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        ({"grace": timedelta(seconds=-1)}, "grace_s", "90 days"),
        ({"grace": MAX_GRACE + timedelta(seconds=1)}, "grace_s", "90 days"),
        ({"ends_at": NOW}, "ends_at", "in the future"),
        ({"ends_at": NOW - HOUR}, "ends_at", "in the future"),
        ({"ends_at": NOW + MAX_GRACE + timedelta(seconds=1)}, "ends_at", "90 days"),
        ({"grace": HOUR, "ends_at": NOW + HOUR}, "ends_at", "one of them"),
    ],
)
def test_an_invalid_end_of_the_old_generation_is_rejected(given, field, problem):
    """In the past, too far in the future, or given in both ways; the error names the field."""
    with pytest.raises(InvalidInputError, match=problem) as raised:
        end_of_previous(now=NOW, **given)

    assert raised.value.field == field


def test_ending_now_changes_only_generations_that_still_work():
    """An end that has passed, or that a revocation set, is kept in the record."""
    rotated = end_generations([API_KEY], rotated_at=NOW, ends_at=NOW + HOUR).changed
    middle, end = NOW + HOUR / 2, NOW + HOUR

    assert [
        key.expires_at for key in end_generations(rotated, rotated_at=middle, ends_at=middle).changed
    ] == [middle]
    assert end_generations(rotated, rotated_at=end, ends_at=end) == ([], rotated)
    revoked = [msgspec.structs.replace(key, revoked_at=NOW) for key in rotated]
    assert end_generations(revoked, rotated_at=NOW, ends_at=NOW) == ([], revoked)


def test_changed_generations_are_returned_separately():
    """Those are written; the unchanged ones are only published."""
    over = msgspec.structs.replace(API_KEY, public_id="b", expires_at=NOW, rotated_at=NOW)

    changed, unchanged = end_generations([over, API_KEY], rotated_at=NOW, ends_at=NOW)

    assert ([key.public_id for key in changed], unchanged) == (["a"], [over])


@pytest.mark.parametrize(
    ("ends_at", "seconds"), [(None, None), (NOW, 0), (NOW - HOUR, 0), (NOW + HOUR, 3600)]
)
def test_the_countdown_stops_at_zero(ends_at, seconds):
    """A generation without an end has no countdown."""
    assert seconds_until(ends_at, now=NOW) == seconds
