"""The format of API keys, and how a key is checked against its record."""

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
def test_a_generated_key_can_be_parsed(seed):
    """Every generated key has the documented format and digest."""
    key = generate_api_key(seeded_bytes(seed))
    text = key.text.reveal()

    assert len(text) == 58
    assert text.startswith(f"lyftdata_{key.public_id}_")
    assert key.digest == hashlib.sha256(text[20:52].encode()).digest()
    assert parse_api_key(text).digest == key.digest


@given(st.integers(0, 57), st.characters())
def test_a_key_with_one_changed_character_is_malformed(position, character):
    """It is refused by its checksum, before a record is looked up."""
    changed = TEXT[:position] + character + TEXT[position + 1 :]
    if changed == TEXT:
        return
    with pytest.raises(MalformedApiKeyError):
        parse_api_key(changed)


@given(st.text())
def test_arbitrary_text_is_malformed(text):
    """The parser raises no other error, whatever the text is."""
    with pytest.raises(MalformedApiKeyError):
        parse_api_key(text)


def test_a_malformed_key_is_not_repeated_in_the_refusal():
    """The detail has the length, not the text, which may be another secret that was pasted by mistake."""
    with pytest.raises(MalformedApiKeyError) as refused:
        parse_api_key("hunter2-my-other-password")
    assert "hunter2" not in str(refused.value)


def test_the_right_key_is_accepted():
    """The record of a live key for all Workers is returned."""
    assert check(RECORD) is RECORD


def test_an_unknown_public_id_and_a_wrong_secret_get_the_same_refusal():
    """A refusal does not reveal whether the public ID exists."""
    for record in (None, api_key(KEY.public_id, digest=bytes(32))):
        with pytest.raises(WrongApiKeyError):
            check(record)


@pytest.mark.parametrize(
    ("seconds", "refusal"), [(-1, None), (0, ApiKeyExpiredError), (1, ApiKeyExpiredError)]
)
def test_a_key_expires_at_its_expiry_time(seconds, refusal):
    """It is refused from that very second."""
    record = msgspec.structs.replace(RECORD, expires_at=NOON)
    now = NOON + timedelta(seconds=seconds)

    if refusal is None:
        assert check(record, now=now) is record
    else:
        with pytest.raises(refusal):
            check(record, now=now)


def test_the_end_of_an_older_generation_is_reported_as_a_rotation():
    """The remedy differs from that of an expired key. The key's name is a field, and the time is formatted for people."""
    record = msgspec.structs.replace(RECORD, expires_at=NOON, rotated_at=NOON - timedelta(hours=1))

    with pytest.raises(ApiKeyRotatedError) as refused:
        check(record, now=NOON)

    assert refused.value.api_key == record.name
    assert f"{NOON:%Y-%m-%d %H:%M:%S} UTC" in refused.value.detail
    assert "+00:00" not in refused.value.detail


def test_a_revoked_key_is_refused_as_revoked_even_if_it_has_expired():
    """Revocation is checked before the expiry."""
    record = msgspec.structs.replace(RECORD, revoked_at=NOON, expires_at=NOON)
    with pytest.raises(ApiKeyRevokedError):
        check(record, now=NOON + timedelta(days=1))


@pytest.mark.parametrize(
    ("worker_ids", "fine"), [({"w-1"}, True), ({"w-2"}, False), (set(), False), ({"W-1"}, False)]
)
def test_a_key_for_chosen_workers_is_refused_for_others(worker_ids, fine):
    """Without any chosen Worker it is refused for all of them."""
    record = msgspec.structs.replace(RECORD, for_all_workers=False, worker_ids=tuple(sorted(worker_ids)))
    if fine:
        assert check(record) is record
    else:
        with pytest.raises(ApiKeyNotForWorkerError):
            check(record)


def test_the_repr_of_a_key_does_not_contain_its_text():
    """Its str does not contain it either."""
    assert TEXT not in repr(KEY)
    assert TEXT not in f"{KEY} {KEY.text}"
