"""Nonces: for two minutes, for what they are bound to, by anyone who has the key."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.nonces import is_good_nonce, make_nonce, unsafe_nonce_time

KEY = bytes(range(32))
NONCE = make_nonce(KEY, issued_at=NOON, salt=bytes(9), bound_to="w-1 7")


@pytest.mark.parametrize(
    ("seconds", "is_good"), [(-31, False), (-30, True), (0, True), (120, True), (121, False), (86_400, False)]
)
def test_a_nonce_lives_for_two_minutes(seconds, is_good):
    """And half a minute before its time: the clocks of two Servers differ."""
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
def test_what_the_server_has_not_made_is_not_a_nonce(nonce):
    """Another time, salt or MAC, or another form."""
    assert not is_good_nonce(nonce, KEY, now=NOON, bound_to="w-1 7")


def test_a_nonce_is_for_one_thing_and_of_one_server():
    """Bound to something else, or made with another key, it is not good."""
    assert is_good_nonce(NONCE, KEY, now=NOON, bound_to="w-1 7")
    assert not is_good_nonce(NONCE, KEY, now=NOON, bound_to="w-1 8")
    assert not is_good_nonce(NONCE, KEY, now=NOON, bound_to="w-2 7")
    assert not is_good_nonce(NONCE, bytes(32), now=NOON, bound_to="w-1 7")


def test_the_salt_makes_each_nonce_another():
    """Two nonces of one second do not tell whether they are bound to the same."""
    again = make_nonce(KEY, issued_at=NOON, salt=b"123456789", bound_to="w-1 7")
    assert again != NONCE
    assert len(again) == len(NONCE)


def test_who_signs_reads_the_time():
    """A nonce names when it was made; anything else names nothing."""
    assert unsafe_nonce_time(NONCE) == NOON
    assert unsafe_nonce_time("99999999999." + "A" * 36) is not None
    for text in ("", "nonsense", "999999999999." + "A" * 36, "1." + "A" * 35):
        assert unsafe_nonce_time(text) is None
