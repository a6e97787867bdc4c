"""At `/oauth2/register` guessing the enrollment key ends at a limit, and costs the Server next to nothing from there on."""

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


async def test_beyond_the_limit_the_credential_is_not_looked_at(server, monkeypatch):
    """From the twenty-first on it is 429 with Retry-After, to the right key too, and nothing is checked."""
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


async def test_the_right_key_is_taken_from_another_network_and_after_the_wait(server):
    """A guesser delays nobody elsewhere; in the same network the wait that was told is enough."""
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


async def test_guesses_sent_together_get_no_more(server):
    """Of a hundred at once twenty are looked at."""
    answers = await asyncio.gather(*(guess(server, server.http) for _ in range(100)))

    assert sum(answer.status_code == 401 for answer in answers) == 20


async def test_guessing_goes_no_further_by_proofs(server):
    """A proof under a wrong secret and a raw wrong secret share one count."""
    for number in range(20):
        key = generate_identity_key()
        proof = server.proof(key, "press", secret=WRONG)
        await guess(server, server.http, credential=proof if number % 2 else WRONG)

    assert (await guess(server, server.http)).status_code == 429


async def test_right_enrollments_are_not_counted(server):
    """A whole fleet behind one address enrolls without a wait."""
    answers = [await server.register(generate_identity_key(), f"w-{number}") for number in range(50)]

    assert {answer.status_code for answer in answers} == {201}


async def test_what_is_no_guess_at_the_key_is_not_counted(server):
    """Requests without a credential, and of those who know the key but break another rule, use up no guesses."""
    for _ in range(30):
        await server.http.post("/oauth2/register", json={})
        await server.register(generate_identity_key(), "x" * 100)
        server.services.refusals.limiter._buckets.clear()

    assert (await server.register(generate_identity_key(), "press")).status_code == 201


async def test_the_limit_at_enrollment_does_not_reach_tokens(server, admin, press):
    """A guesser at the enrollment key keeps no Worker in the same network from its tokens."""
    for _ in range(40):
        await guess(server, server.http)

    assert (await server.token_by_key(*press)).status_code == 200


@pytest.mark.parametrize("enabled", [True, False])
async def test_off_and_wrong_are_limited_alike(opened, enabled):
    """Whether Auto-Enrollment is on cannot be told by when the limit begins."""
    environ = {} if enabled else {"LYFTDATA_AUTO_ENROLLMENT_KEY": ""}
    async with opened(**environ) as server:
        answers = [(await guess(server, server.http)).status_code for _ in range(25)]

    assert answers == [401] * 20 + [429] * 5


async def test_a_flood_beyond_the_limit_is_written_down_once(server):
    """It shares a reference for a minute: thousands of guesses do not push other refusals out."""
    for _ in range(20):
        await guess(server, server.http)

    references = {(await guess(server, server.http)).json()["reference"] for _ in range(50)}

    assert len(references) == 1
