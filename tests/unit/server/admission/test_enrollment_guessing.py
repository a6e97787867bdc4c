"""Guesses of the enrollment key at `/oauth2/register` are limited, and cost the Server next to nothing beyond the limit."""

import asyncio

import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.core.identity_keys import generate_identity_key

WRONG = "w" * 40


async def guess(server, http, *, credential=WRONG):
    """Try to enroll with a wrong key."""
    key = generate_identity_key()
    body = {"client_name": "guess", "jwks": {"keys": [key.public.as_dict()]}}
    return await http.post("/oauth2/register", json=body, headers={"Authorization": f"Bearer {credential}"})


async def test_credentials_are_not_checked_beyond_the_limit(server, monkeypatch):
    """From the twenty-first guess on the answer is 429 with Retry-After, even to the right key, and nothing is checked."""
    answers = [await guess(server, server.http) for _ in range(25)]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 5

    def looked(_credential):
        raise AssertionError

    monkeypatch.setattr(server.services.enrollment, "check_credential", looked)
    right = await server.register(generate_identity_key(), "press")
    raw = await guess(server, server.http, credential=ENROLLMENT_KEY)

    for answer in (right, raw):
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
        assert answer.json()["error"] == "temporarily_unavailable"
    assert await server.cause(right) == "enrollment_rate_limited"


async def test_the_right_key_is_accepted_from_another_network_and_after_the_wait(server):
    """Guesses delay no other network; in the same network, waiting as long as `Retry-After` says is enough."""
    for _ in range(25):
        await guess(server, server.http)

    async with server.from_address("203.0.113.7") as elsewhere:
        key = generate_identity_key()
        body = {"client_name": "elsewhere", "jwks": {"keys": [key.public.as_dict()]}}
        bearer = {"Authorization": f"Bearer {server.proof(key, 'elsewhere')}"}
        answer = await elsewhere.post("/oauth2/register", json=body, headers=bearer)
        assert answer.status_code == 201
    assert (await server.register(generate_identity_key(), "press")).status_code == 429
    server.clock.forward(seconds=3)
    assert (await server.register(generate_identity_key(), "press")).status_code == 201


async def test_concurrent_guesses_are_limited_alike(server):
    """Of a hundred at once, twenty are checked."""
    answers = await asyncio.gather(*(guess(server, server.http) for _ in range(100)))

    assert sum(answer.status_code == 401 for answer in answers) == 20


async def test_proofs_and_raw_secrets_share_one_limit(server):
    """A proof made with a wrong secret counts like the wrong secret itself."""
    for number in range(20):
        key = generate_identity_key()
        proof = server.proof(key, "press", secret=WRONG)
        await guess(server, server.http, credential=proof if number % 2 else WRONG)

    assert (await guess(server, server.http)).status_code == 429


async def test_successful_enrollments_are_not_counted(server):
    """A whole fleet behind one address enrolls without waiting."""
    answers = [await server.register(generate_identity_key(), f"w-{number}") for number in range(50)]

    assert {answer.status_code for answer in answers} == {201}


async def test_only_guesses_of_the_key_are_counted(server):
    """Not requests without a credential, nor those with the right key that break another rule."""
    for _ in range(30):
        await server.http.post("/oauth2/register", json={})
        await server.register(generate_identity_key(), "x" * 100)
        server.services.refusals.limiter._buckets.clear()

    assert (await server.register(generate_identity_key(), "press")).status_code == 201


async def test_the_enrollment_limit_does_not_affect_token_requests(server, admin, press):
    """Guesses of the enrollment key do not keep Workers in the same network from their tokens."""
    for _ in range(40):
        await guess(server, server.http)

    assert (await server.token_by_key(*press)).status_code == 200


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_limit_does_not_reveal_whether_enrollment_is_on(opened, enabled):
    """It begins after the same number of guesses."""
    environ = {} if enabled else {"LYFTDATA_AUTO_ENROLLMENT_KEY": ""}
    async with opened(**environ) as server:
        answers = [(await guess(server, server.http)).status_code for _ in range(25)]

    assert answers == [401] * 20 + [429] * 5


async def test_a_flood_beyond_the_limit_is_recorded_once(server):
    """It shares one reference for a minute: thousands of guesses do not evict other refusals."""
    for _ in range(20):
        await guess(server, server.http)

    references = {(await guess(server, server.http)).json()["reference"] for _ in range(50)}

    assert len(references) == 1
