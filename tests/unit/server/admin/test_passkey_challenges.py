"""Challenges of passkeys: whose they are, for how long, and that any Server knows another's."""

from datetime import timedelta

import pytest
from tests.builders import FakeClock

from lyftdata.server.admin.passkey_challenges import CHALLENGE_LIFE, ChallengeError, PasskeyChallenges
from lyftdata.server.clock import random_bytes


def server(clock, key=b"k" * 32):
    """Return what one Server makes challenges with."""
    return PasskeyChallenges(key=key, clock=clock, random_bytes=random_bytes)


def test_any_server_of_a_deployment_knows_a_challenge():
    """By the key that they share, and by one name: used up at one, it is used up at all. Another deployment knows none of it."""
    clock = FakeClock()
    made = server(clock).issue("session 1")

    found = server(clock).open(made, "session 1")

    assert found == server(clock).open(made, "session 1")
    assert found.expires_at == clock() + CHALLENGE_LIFE
    assert made != server(clock).issue("session 1")
    with pytest.raises(ChallengeError):
        server(clock, b"o" * 32).open(made, "session 1")


def test_it_ends_after_five_minutes():
    """In the very second."""
    clock = FakeClock()
    made = server(clock).issue("x")
    clock.forward(seconds=(CHALLENGE_LIFE - timedelta(seconds=1)).total_seconds())
    server(clock).open(made, "x")
    clock.forward(seconds=1)
    with pytest.raises(ChallengeError):
        server(clock).open(made, "x")


def test_every_byte_of_it_counts():
    """A later end, other random bytes, another owner, a part of it, or nothing."""
    clock = FakeClock()
    made = server(clock).issue("x")
    changed = [made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :] for at in range(len(made))]
    for unverified in (*changed, made[:-1], made + b"\0", b"", b"\0" * len(made)):
        with pytest.raises(ChallengeError):
            server(clock).open(unverified, "x")
    with pytest.raises(ChallengeError):
        server(clock).open(made, "y")
