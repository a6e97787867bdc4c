"""The API key's format and the check against its record."""

import hashlib
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import NOON, api_key, seeded_bytes

from lyftdata.core.api_keys import generate_api_key, parse_api_key, verify_api_key
from lyftdata.core.refusals import (
    ApiKeyExpiredError,
    ApiKeyNotForWorkerError,
    ApiKeyRevokedError,
    ApiKeyRotatedError,
    MalformedApiKeyError,
    WrongApiKeyError,
)

KEY = generate_api_key(seeded_bytes())
TEXT = KEY.text.reveal()
RECORD = api_key(KEY.public_id, digest=KEY.digest)


def check(record, *, worker_id="w-1", now=NOON):
    """Verify the test's key against a record."""
    return verify_api_key(parse_api_key(TEXT), record=record, worker_id=worker_id, now=now)


@given(st.integers())
def test_a_generated_key_reads_back(seed):
    """Every generated key has the documented form and digest."""
    key = generate_api_key(seeded_bytes(seed))
    text = key.text.reveal()

    assert len(text) == 58
    assert text.startswith(f"lyftdata_{key.public_id}_")
    assert key.digest == hashlib.sha256(text[20:52].encode()).digest()
    assert parse_api_key(text).digest == key.digest


@given(st.integers(0, 57), st.characters())
def test_one_changed_character_is_noticed(position, character):
    """A key with any one character changed is refused offline, before a record is looked for."""
    changed = TEXT[:position] + character + TEXT[position + 1 :]
    if changed == TEXT:
        return
    with pytest.raises(MalformedApiKeyError):
        parse_api_key(changed)


@given(st.text())
def test_arbitrary_text_is_no_key(text):
    """Text that is no key is refused, whatever it is, and never crashes."""
    with pytest.raises(MalformedApiKeyError):
        parse_api_key(text)


def test_a_malformed_key_is_not_repeated_in_the_refusal():
    """The detail names a length, not the text: somebody may have pasted another secret."""
    with pytest.raises(MalformedApiKeyError) as refused:
        parse_api_key("hunter2-my-other-password")
    assert "hunter2" not in str(refused.value)


def test_the_right_key_passes():
    """A live key for every Worker passes and its record is returned."""
    assert check(RECORD) is RECORD


def test_an_unknown_public_id_and_a_wrong_secret_are_one_refusal():
    """Whether the public id exists is not told apart from a wrong secret."""
    for record in (None, api_key(KEY.public_id, digest=bytes(32))):
        with pytest.raises(WrongApiKeyError):
            check(record)


@pytest.mark.parametrize(
    ("seconds", "refusal"), [(-1, None), (0, ApiKeyExpiredError), (1, ApiKeyExpiredError)]
)
def test_a_key_dies_at_its_date(seconds, refusal):
    """A key is refused from the very second of its expiry."""
    record = msgspec.structs.replace(RECORD, expires_at=NOON)
    now = NOON + timedelta(seconds=seconds)

    if refusal is None:
        assert check(record, now=now) is record
    else:
        with pytest.raises(refusal):
            check(record, now=now)


def test_an_older_generation_was_rotated_and_has_not_expired():
    """What to do differs, so the causes do: the key's name is a field, and the time is for people."""
    record = msgspec.structs.replace(RECORD, expires_at=NOON, rotated_at=NOON - timedelta(hours=1))

    with pytest.raises(ApiKeyRotatedError) as refused:
        check(record, now=NOON)

    assert refused.value.api_key == record.name
    assert f"{NOON:%Y-%m-%d %H:%M:%S} UTC" in refused.value.detail
    assert "+00:00" not in refused.value.detail


def test_a_revoked_key_is_refused_before_its_date_is_asked():
    """Revoked is said even of a key that has expired as well."""
    record = msgspec.structs.replace(RECORD, revoked_at=NOON, expires_at=NOON)
    with pytest.raises(ApiKeyRevokedError):
        check(record, now=NOON + timedelta(days=1))


@pytest.mark.parametrize(
    ("worker_ids", "fine"), [({"w-1"}, True), ({"w-2"}, False), (set(), False), ({"W-1"}, False)]
)
def test_a_key_for_chosen_workers_is_for_those_alone(worker_ids, fine):
    """A scoped key works for its Workers alone; without any it is a key for nobody."""
    record = msgspec.structs.replace(RECORD, for_all_workers=False, worker_ids=tuple(sorted(worker_ids)))
    if fine:
        assert check(record) is record
    else:
        with pytest.raises(ApiKeyNotForWorkerError):
            check(record)


def test_a_key_does_not_show_itself():
    """The text of a new key is in no repr."""
    assert TEXT not in repr(KEY)
    assert TEXT not in f"{KEY} {KEY.text}"
