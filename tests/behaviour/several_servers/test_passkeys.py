"""Passkeys where each request may go to another Server: a challenge of one is accepted by another, once."""

import asyncio

import httpx2
from tests.authenticator import Authenticator
from tests.behaviour.several_servers.test_pages import RoundRobin
from tests.builders import ISSUER
from tests.deployment import PASSWORD
from tests.unit.server.admin.test_passkeys import actor_of, begin, finish
from tests.unit.web.conftest import Browser
from tests.unit.web.pages.test_passkeys import OWN, enter, options_of, register

from lyftdata.core.errors import NotSignedInError, SecondFactorFailedError
from lyftdata.core.secret import Secret
from lyftdata.server.admin.password_sign_in import SignedIn


async def test_a_passkey_answer_is_single_use_across_servers(two):
    """An answer to one Server's challenge that reaches both Servers at the same time opens one session."""
    first, second = two
    actor = await actor_of(first, await first.sign_in())
    key = Authenticator(counts=False)
    made = key.create(await first.services.passkeys.begin(actor=actor))
    await second.services.passkeys.add("desk", Secret(made), actor=actor)
    ticket, options = await begin(first)
    answer = key.get(options)

    done = await asyncio.gather(*(finish(one, ticket, answer) for one in two), return_exceptions=True)

    assert [type(one) for one in done].count(SignedIn) == 1
    assert [type(one) for one in done].count(SecondFactorFailedError) == 1


async def test_of_two_sessions_that_register_a_first_passkey_only_one_succeeds(two):
    """The other session is ended: a thief who knows the password cannot keep access with a passkey registered at the same time."""
    passkeys = [one.services.passkeys for one in two]
    actors = [await actor_of(one, await one.sign_in("admin", PASSWORD)) for one in two]
    answers = [
        Authenticator().create(await mine.begin(actor=actor))
        for mine, actor in zip(passkeys, actors, strict=True)
    ]

    done = await asyncio.gather(
        *(
            mine.add(f"key {number}", Secret(answer), actor=actor)
            for number, (mine, answer, actor) in enumerate(zip(passkeys, answers, actors, strict=True))
        ),
        return_exceptions=True,
    )

    assert sorted(type(one) is NotSignedInError for one in done) == [False, True]
    (kept,) = await passkeys[0].list("admin")
    winner = next(number for number, one in enumerate(done) if not isinstance(one, Exception))
    assert kept.name == f"key {winner}"


async def test_a_ceremony_may_begin_at_one_server_and_end_at_the_other(two):
    """A passkey is registered and used to sign in while each request goes to another Server; a replayed answer is refused."""
    async with httpx2.AsyncClient(transport=RoundRobin(two), base_url=ISSUER) as http:
        browser = Browser(http)
        await browser.sign_in("admin", PASSWORD)
        await browser.learn_token()
        await browser.post("/account/password", current=PASSWORD, new=OWN, again=OWN)
        await browser.learn_token()
        key, added = await register(browser)
    assert added.status_code == 200, added.text

    async with httpx2.AsyncClient(transport=RoundRobin(two), base_url=ISSUER) as http:
        other_browser = Browser(http)
        asked = await other_browser.sign_in("admin", OWN)
        proof = key.get(options_of(asked))
        answer = await enter(other_browser, passkey=proof)
        again = await enter(other_browser, passkey=proof)
        account = await other_browser.get("/account")

    assert (answer.status_code, again.status_code) == (303, 401), again.text
    assert "last used" in account.text
    (kept,) = await two[1].services.passkeys.list("admin")
    assert kept.sign_count == 1
