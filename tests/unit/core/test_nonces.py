"""Nonces are valid for two minutes, for what they are bound to, at every Server that has the key."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.nonces import is_good_nonce, make_nonce, unsafe_nonce_time

KEY = bytes(range(32))
NONCE = make_nonce(KEY, issued_at=NOON, salt=bytes(9), bound_to="w-1 7")


@pytest.mark.parametrize(
    ("seconds", "is_good"), [(-31, False), (-30, True), (0, True), (120, True), (121, False), (86_400, False)]
)
def test_a_nonce_is_valid_for_two_minutes(seconds, is_good):
    """It is accepted up to half a minute early, since the clocks of two Servers may differ."""
    assert is_good_nonce(NONCE, KEY, now=NOON + timedelta(seconds=seconds), bound_to="w-1 7") is is_good


@pytest.mark.parametrize(
    "nonce",
    [
        "",
        "nonsense",
        NONCE[:-1],
        NONCE + "A",
        NONCE.replace(".", ""),
        "1" + NONCE[1:].replace("7", "8", 1),
        f"{int(NOON.timestamp()) + 60}.{NONCE.partition('.')[2]}",
        NONCE[:-1] + ("A" if NONCE[-1] != "A" else "B"),
        NONCE.replace(".", ".A", 1)[:-1],
        "\uff11" + NONCE[1:],
    ],
)
def test_a_forged_nonce_is_rejected(nonce):
    """With another time, salt, MAC or format."""
    assert not is_good_nonce(nonce, KEY, now=NOON, bound_to="w-1 7")


def test_a_nonce_is_bound_to_its_subject_and_its_key():
    """Another binding or another key makes it invalid."""
    assert is_good_nonce(NONCE, KEY, now=NOON, bound_to="w-1 7")
    assert not is_good_nonce(NONCE, KEY, now=NOON, bound_to="w-1 8")
    assert not is_good_nonce(NONCE, KEY, now=NOON, bound_to="w-2 7")
    assert not is_good_nonce(NONCE, bytes(32), now=NOON, bound_to="w-1 7")


def test_the_salt_makes_each_nonce_unique():
    """Two nonces of the same second do not reveal whether their binding is the same."""
    again = make_nonce(KEY, issued_at=NOON, salt=b"123456789", bound_to="w-1 7")
    assert again != NONCE
    assert len(again) == len(NONCE)


def test_the_time_can_be_read_from_a_nonce():
    """A signer uses it; malformed text gives None."""
    assert unsafe_nonce_time(NONCE) == NOON
    assert unsafe_nonce_time("99999999999." + "A" * 36) is not None
    for text in ("", "nonsense", "999999999999." + "A" * 36, "1." + "A" * 35):
        assert unsafe_nonce_time(text) is None
