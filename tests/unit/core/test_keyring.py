"""Signing keys are stored encrypted and rotated with overlap."""

from datetime import timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import NOON

from lyftdata.core.keyring import (
    SIGNING_ALGORITHMS,
    KeyDecryptionError,
    RotationPolicy,
    active_key,
    decrypt_signing_key,
    encrypt_signing_key,
    generate_signing_key,
    plan_rotation,
)
from lyftdata.core.records import SigningKeyRecord

KEK = b"k" * 32
POLICY = RotationPolicy(token_ttl=timedelta(minutes=15))


def record(kid="k1", *, signs_from=NOON, retires_at=None, sealed=b""):
    """Return the record of a signing key."""
    return SigningKeyRecord(
        kid=kid,
        algorithm="ES256",
        encrypted_private_key=sealed,
        created_at=NOON,
        signs_from=signs_from,
        retires_at=retires_at,
    )


@pytest.mark.parametrize("algorithm", SIGNING_ALGORITHMS)
def test_a_key_survives_its_encryption(algorithm):
    """It can only be decrypted with the same key and under the same `kid`."""
    key = generate_signing_key(algorithm)
    kept = msgspec.structs.replace(
        record(key.kid, sealed=encrypt_signing_key(key, kek=KEK, nonce=b"n" * 12)), algorithm=algorithm
    )

    sealed = kept.encrypted_private_key
    tampered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    assert decrypt_signing_key(kept, kek=KEK).public_jwk() == key.public_jwk()
    for wrong in (
        lambda: decrypt_signing_key(kept, kek=b"x" * 32),
        lambda: decrypt_signing_key(msgspec.structs.replace(kept, kid="other"), kek=KEK),
        lambda: decrypt_signing_key(msgspec.structs.replace(kept, encrypted_private_key=tampered), kek=KEK),
    ):
        with pytest.raises(KeyDecryptionError):
            wrong()


def test_the_private_half_is_neither_stored_nor_published():
    """Neither the stored bytes nor the JWK contain the private number."""
    key = generate_signing_key("ES256")
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    number = key.private.private_numbers().private_value.to_bytes(32, "big")

    assert number not in encrypt_signing_key(key, kek=KEK, nonce=b"n" * 12)
    assert set(key.public_jwk()) == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_the_first_key_signs_at_once():
    """Without any key, there is no reason to wait."""
    plan = plan_rotation([], now=NOON, policy=POLICY)
    assert (plan.create, plan.create_signs_from) == (True, None)


@pytest.mark.parametrize(("days", "create"), [(28.9, False), (29, True), (40, True)])
def test_the_next_key_is_published_a_day_before_it_signs(days, create):
    """It is created 29 days after the previous one started to sign, and only once."""
    now = NOON + timedelta(days=days)
    plan = plan_rotation([record()], now=now, policy=POLICY)

    assert plan.create is create
    if create:
        assert plan.create_signs_from is not None
        assert plan.create_signs_from >= now + timedelta(hours=24)
        assert not plan_rotation(
            [record(), record("k2", signs_from=plan.create_signs_from)], now=now, policy=POLICY
        ).create


def test_a_retired_key_outlives_its_tokens():
    """When the next key starts to sign, the previous one gets an end a day after the expiry of its last token; then it is removed."""
    records = [record(), record("k2", signs_from=NOON + timedelta(days=30))]
    now = NOON + timedelta(days=30)

    ((kid, retires_at),) = plan_rotation(records, now=now, policy=POLICY).retire
    assert kid == "k1"
    assert retires_at == now + POLICY.token_ttl + timedelta(days=1)
    retired = [record(retires_at=retires_at), records[1]]
    assert plan_rotation(retired, now=retires_at - timedelta(seconds=1), policy=POLICY).remove == []
    assert plan_rotation(retired, now=retires_at, policy=POLICY).remove == ["k1"]


@given(st.lists(st.integers(0, 100 * 24), min_size=1, max_size=40))
def test_rotation_at_any_time_keeps_a_published_key_that_signs(hours):
    """However irregularly it runs, the signing key was published long enough before, and few keys are kept."""
    records = [record("k0")]
    published = {"k0": NOON - timedelta(days=1)}
    for step, hour in enumerate(sorted(hours)):
        now = NOON + timedelta(hours=hour)
        plan = plan_rotation(records, now=now, policy=POLICY)
        if plan.create:
            records.append(record(f"k{step + 1}", signs_from=plan.create_signs_from))
            published[f"k{step + 1}"] = now
        ends = dict(plan.retire)
        records = [
            msgspec.structs.replace(r, retires_at=ends.get(r.kid, r.retires_at))
            for r in records
            if r.kid not in plan.remove
        ]
        signer = active_key(records, now)
        assert signer.retires_at is None
        assert now >= published[signer.kid] + timedelta(hours=24)
        assert len(records) <= 4


def test_a_clock_set_back_still_leaves_a_signing_key():
    """Before the time of every key, the earliest one signs: the Server must not be without a key."""
    assert active_key([record()], NOON - timedelta(days=365)).kid == "k1"
