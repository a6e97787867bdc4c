"""Two Servers whose operators sign in at one OpenID Connect issuer: limits count across both."""

import asyncio

import pytest
from tests.oidc_issuer import lying_issuer

from lyftdata.server.clock import utc_now


@pytest.fixture
def issuer():
    """Return an issuer."""
    with lying_issuer(utc_now) as made:
        yield made


@pytest.fixture
async def pair(start_server, issuer):
    """Return two Servers whose operators sign in at that issuer."""
    async with start_server(**issuer.settings()) as first, start_server(**issuer.settings()) as second:
        yield first, second


async def sign_in(server, issuer, **changes):
    """Sign in as a browser does, with changes to what the issuer passes back; return the status."""
    async with server.from_address("192.0.2.7") as http:
        there = (await http.get("/login/oidc")).headers["location"]
        query = issuer.authorize(there) | changes
        return (await http.get("/login/oidc/callback", params=query)).status_code


async def until(question, what):
    """Ask until the answer is true; fail after a while."""
    async with asyncio.timeout(180):
        while not await question():
            await asyncio.sleep(0.01)


def counted(limiter):
    """Return how much of the limit of 20 a Server has counted for the only caller."""
    [bucket] = limiter._buckets.values() or [None]
    return 0.0 if bucket is None else 20 - bucket.tokens


async def test_wrong_codes_at_one_server_count_at_the_other(pair, issuer):
    """Twenty in all, not twenty at each Server; then neither asks the issuer."""
    first, second = pair

    async def is_limited():
        await sign_in(first, issuer, code="made-up")
        return counted(second.services.oidc.limits.codes) > 19.5

    await until(is_limited, "the other Server has counted them")

    assert await sign_in(second, issuer, code="made-up") == 429


async def test_right_codes_at_one_server_do_not_count_at_the_other(pair, issuer):
    """However many operators sign in: until its exchange succeeds a code counts at its own Server, and at peers only once it was wrong."""
    first, second = pair
    answers = await asyncio.gather(*(sign_in(first, issuer) for _ in range(10)))
    assert answers == [303] * 10
    await sign_in(first, issuer, code="made-up")

    async def has_counted():
        return counted(second.services.oidc.limits.codes) > 0

    await until(has_counted, "the other Server has counted the wrong one")

    assert counted(second.services.oidc.limits.codes) <= 1


async def test_the_limit_of_audited_refusals_counts_across_servers(pair, issuer):
    """Five refusals of one identity are audited in all, not five at each Server."""
    first, second = pair
    issuer.claims |= {"groups": ["sales"]}
    for _ in range(6):
        assert await sign_in(first, issuer) == 403

    async def has_counted():
        return any(bucket.tokens < 1 for bucket in second.services.oidc.limits.audited._buckets.values())

    await until(has_counted, "the other Server has counted them")
    assert await sign_in(second, issuer) == 403

    headers = await second.sign_in()
    found = await second.http.get("/api/audit?action=operator.sign_in_refused", headers=headers)
    assert len(found.json()["items"]) == 5
