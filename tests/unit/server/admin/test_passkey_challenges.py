"""Passkey challenges: whose they are, how long they are valid, and that every Server of a deployment accepts them."""

from datetime import timedelta

import pytest
from tests.builders import FakeClock

from lyftdata.server.admin.passkey_challenges import CHALLENGE_LIFE, ChallengeError, PasskeyChallenges
from lyftdata.server.clock import random_bytes


def server(clock, key=b"k" * 32):
    """Return what one Server makes challenges with."""
    return PasskeyChallenges(key=key, clock=clock, random_bytes=random_bytes)


def test_every_server_of_a_deployment_accepts_a_challenge():
    """They share a key and identify the challenge alike, so one used at a Server is used at all; another deployment rejects it."""
    clock = FakeClock()
    made = server(clock).issue("session 1")

    found = server(clock).open(made, "session 1")

    assert found == server(clock).open(made, "session 1")
    assert found.expires_at == clock() + CHALLENGE_LIFE
    assert made != server(clock).issue("session 1")
    with pytest.raises(ChallengeError):
        server(clock, b"o" * 32).open(made, "session 1")


def test_a_challenge_expires_after_five_minutes():
    """To the second."""
    clock = FakeClock()
    made = server(clock).issue("x")
    clock.forward(seconds=(CHALLENGE_LIFE - timedelta(seconds=1)).total_seconds())
    server(clock).open(made, "x")
    clock.forward(seconds=1)
    with pytest.raises(ChallengeError):
        server(clock).open(made, "x")


def test_a_changed_challenge_is_rejected():
    """With any byte changed, for another owner, truncated, extended or empty."""
    clock = FakeClock()
    made = server(clock).issue("x")
    changed = [made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :] for at in range(len(made))]
    for unverified in (*changed, made[:-1], made + b"\0", b"", b"\0" * len(made)):
        with pytest.raises(ChallengeError):
            server(clock).open(unverified, "x")
    with pytest.raises(ChallengeError):
        server(clock).open(made, "y")
