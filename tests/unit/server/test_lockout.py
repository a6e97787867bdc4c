"""Guessing passwords is slowed down; strangers keep nobody out."""

import asyncio
from datetime import timedelta

import pytest
from tests.builders import NOON
from tests.deployment import PASSWORD

from lyftdata.core.secret import Secret
from lyftdata.server.lockout import Lockout

HOME = "192.0.2.1"


def fail(lockout, name, address, *, times=1, now=NOON, exists=True):
    """Fail so often; return how many of the passwords were looked at."""
    seen = 0
    for _ in range(times):
        attempt = lockout.begin(name, address, exists=exists, now=now)
        if not attempt.wait_s:
            seen += 1
            lockout.failed(attempt, now=now)
            lockout.end(attempt)
    return seen


def sign_in(lockout, name, address, now=NOON):
    """Sign in with the right password if it is looked at; return whether it was."""
    attempt = lockout.begin(name, address, exists=True, now=now)
    if attempt.wait_s:
        return False
    lockout.succeeded(attempt)
    lockout.end(attempt)
    return True


def test_a_guesser_in_one_place_gets_five():
    """The sixth password is not looked at for a minute; after the wait one more, and then it doubles."""
    lockout = Lockout()

    assert fail(lockout, "admin", HOME, times=20) == 5
    assert lockout.begin("admin", HOME, exists=True, now=NOON).wait_s == 60
    later = NOON + timedelta(seconds=60)
    assert fail(lockout, "admin", HOME, times=5, now=later) == 1
    assert lockout.begin("admin", HOME, exists=True, now=later).wait_s == 120


def test_made_up_names_do_not_wash_a_count_away():
    """Failures under ten thousand other names, from wherever, leave those of `admin` counted."""
    lockout = Lockout()
    fail(lockout, "admin", HOME, times=5)
    for i in range(25_000):
        fail(lockout, f"made-up-{i}", f"198.18.{i // 250 % 250}.{i % 250}", exists=False)

    assert fail(lockout, "admin", HOME, times=5) == 0


def test_one_ipv6_network_is_one_place():
    """Whoever has a /64 has 2^64 addresses and five guesses."""
    lockout = Lockout()

    assert sum(fail(lockout, "admin", f"2001:db8::{i:x}") for i in range(1, 200)) == 5
    assert fail(lockout, "admin", "2001:db8:0:1::1") == 1


@pytest.mark.parametrize("exists", [True, False])
def test_many_places_share_a_count_by_name(exists):
    """A botnet gets fifty guesses at a name, whether or not there is such an operator."""
    lockout = Lockout()

    assert sum(fail(lockout, "admin", f"198.18.0.{i}", exists=exists) for i in range(200)) == 50


def test_whoever_signed_in_from_a_place_before_is_not_kept_out():
    """Guessers elsewhere and at made-up names beside the operator lock themselves out, not the operator."""
    lockout = Lockout()
    assert sign_in(lockout, "admin", HOME)
    for i in range(100):
        fail(lockout, "admin", f"198.18.0.{i}")
    fail(lockout, "nobody", HOME, times=100, exists=False)

    assert sign_in(lockout, "admin", HOME)
    assert not sign_in(lockout, "admin", "203.0.113.5")


def test_failures_are_forgotten_after_an_hour():
    """Four mistyped passwords today and one next week lock nobody out."""
    lockout = Lockout()
    fail(lockout, "admin", HOME, times=4)
    later = NOON + timedelta(hours=1)

    assert fail(lockout, "admin", HOME, times=9, now=later) == 5


def test_guesses_at_the_same_time_count_before_they_are_looked_at():
    """Of a hundred passwords sent at once, five are looked at."""
    lockout = Lockout()
    attempts = [lockout.begin("admin", HOME, exists=True, now=NOON) for _ in range(100)]

    assert sum(not attempt.wait_s for attempt in attempts) == 5


def test_right_passwords_at_the_same_time_lock_nothing():
    """Beyond five at once the wait is a second, and nothing is held against the name."""
    lockout = Lockout()
    attempts = [lockout.begin("admin", HOME, exists=True, now=NOON) for _ in range(6)]
    assert attempts[5].wait_s == 1
    for attempt in attempts[:5]:
        lockout.succeeded(attempt)
        lockout.end(attempt)

    assert sign_in(lockout, "admin", HOME)
    assert not lockout._names[True]._counts


async def test_a_flood_at_once_through_the_server(server):
    """Twenty wrong passwords together: five are answered as wrong, the others are not looked at."""
    body = {"username": "admin", "password": "wrong wrong wrong"}
    answers = await asyncio.gather(*(server.http.post("/api/login", json=body) for _ in range(20)))

    assert sorted({a.status_code for a in answers}) == [401, 429]
    assert sum(a.status_code == 401 for a in answers) <= 5


async def test_a_restart_does_not_make_an_operator_a_stranger(opened):
    """Somebody guesses at `admin` from everywhere; whoever has a session from before signs in again."""
    async with opened() as server:
        await server.sign_in()
    async with opened() as server:
        wrong = {"username": "admin", "password": "wrong wrong wrong"}
        for i in range(60):
            async with server.from_address(f"198.18.0.{i}") as stranger:
                await stranger.post("/api/login", json=wrong)
        async with server.from_address("203.0.113.9") as elsewhere:
            right = {"username": "admin", "password": PASSWORD}
            assert (await elsewhere.post("/api/login", json=right)).status_code == 429
        assert await server.sign_in()


async def test_a_flood_of_strangers_keeps_no_known_operator_waiting(server, admin, monkeypatch):
    """However many wait to have a password looked at: who has signed in from here before has a line of their own."""
    passwords = server.services.operators._passwords
    hold = asyncio.Event()

    async def looking(*_args):
        await hold.wait()
        return False

    real = asyncio.to_thread
    monkeypatch.setattr(asyncio, "to_thread", looking)
    flood = [asyncio.create_task(passwords.matches(Secret("x"), None)) for _ in range(40)]
    await asyncio.sleep(0)
    monkeypatch.setattr(asyncio, "to_thread", real)
    async with server.from_address("192.0.2.77") as elsewhere:
        busy = await elsewhere.post("/api/login", json={"username": "admin", "password": PASSWORD})

    assert (await server.sign_in())["Authorization"]

    assert (busy.status_code, busy.json()["code"]) == (503, "too_busy")
    hold.set()
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(outcome).__name__ for outcome in outcomes} == {"bool", "TooBusyError"}
