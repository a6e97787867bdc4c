"""Rotation and withdrawal of the keys that sign worker tokens."""

import asyncio
import json
from datetime import datetime

import pytest

from lyftdata.core.encoding import decode_base64url
from lyftdata.core.refusals import WrongTokenError
from lyftdata.core.tokens import mint_worker_token


async def test_signing_keys_rotate_with_overlap(opened):
    """After a month the next key is published before it signs; tokens of the previous key stay valid until they expire."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        services = server.services

        async def token():
            return (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]

        async def kids():
            await services.signing_keys.refresh()
            return [jwk["kid"] for jwk in (await server.http.get("/.well-known/jwks.json")).json()["keys"]]

        (first,) = await kids()
        server.clock.forward(days=29)
        assert len(await kids()) == 2
        assert services.signing_keys.signer.kid == first
        server.clock.forward(hours=24)
        last = await token()
        await kids()
        assert services.signing_keys.signer.kid != first
        assert (await server.verify(last)).status_code == 204
        server.clock.forward(days=2)
        assert first not in await kids()


KEYS = "/api/signing-keys"


async def rotate(server, admin, **body):
    """Rotate; return kid and state of the keys in the order in which they sign."""
    answer = await server.http.post(f"{KEYS}/rotate", json=body, headers=admin)
    assert answer.status_code == 200, answer.text
    return [(key["kid"], key["state"]) for key in answer.json()["items"]]


async def published(server):
    """Return the kid of each key in the JWKS."""
    return [jwk["kid"] for jwk in (await server.http.get("/.well-known/jwks.json")).json()["keys"]]


async def token_of(server, press):
    """Return a new token, and the kid of the key that signed it."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    return token, json.loads(decode_base64url(token.split(".")[0]))["kid"]


async def test_after_an_immediate_rotation_the_previous_key_stays_published(server, admin, press):
    """Another key signs at once, and tokens of the previous one stay valid: nothing was withdrawn."""
    old, first = await token_of(server, press)
    server.clock.forward(seconds=1)

    keys = await rotate(server, admin, now=True)

    new, second = await token_of(server, press)
    assert keys == [(first, "retired"), (second, "signing")]
    assert set(await published(server)) == {first, second}
    assert [(await server.verify(token)).status_code for token in (old, new)] == [204, 204]


async def test_tokens_of_a_withdrawn_key_are_refused_at_once(server, admin, press):
    """Whether cached or not, wherever the Server checks them; the JWKS drops the key, and the held poll asks its Worker to renew."""
    old, first = await token_of(server, press)
    assert (await server.verify(old)).status_code == 204
    unseen, _ = await token_of(server, press)
    headers = {"Authorization": f"Bearer {old}"}
    await server.http.post("/api/worker/session", json={"boot_id": "boot-0001"}, headers=headers)
    poll = asyncio.ensure_future(
        server.http.post("/api/worker/session", json={"boot_id": "boot-0001"}, headers=headers)
    )
    session = server.services.sessions.find_here("press-01")
    while session.poll is None:
        await asyncio.sleep(0)
    server.clock.forward(seconds=1)

    ((second, state),) = await rotate(server, admin, now=True, withdraw=[first])

    assert state == "signing"
    assert await published(server) == [second] != [first]
    (directive,) = (await poll).json()["directives"]
    assert directive["kind"] == "renew"
    for token in (old, unseen):
        refused = await server.verify(token)
        assert (refused.status_code, await server.cause(refused)) == (401, "wrong_token")
        asked = {"token": token, "client_id": press[0], "client_secret": press[1]}
        assert (await server.http.post("/oauth2/introspect", data=asked)).json() == {"active": False}
        again = await server.http.post(
            "/api/worker/session",
            json={"boot_id": "boot-0001"},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert again.status_code == 401
    assert (await server.verify((await token_of(server, press))[0])).status_code == 204
    events = (await server.http.get("/api/audit", headers=admin)).json()["items"]
    assert [event["action"] for event in events[:2]] == ["signing_key.withdrawn", "signing_key.created"]
    assert {event["actor"] for event in events[:2]} == {"operator:admin"}


async def test_a_poll_whose_signing_key_is_withdrawn_while_it_waits_is_refused(server, admin, press):
    """Much time may pass between the check of a token and the moment it gets a session."""
    old, first = await token_of(server, press)
    verified = server.services.verifier.verify(old)
    server.clock.forward(seconds=1)
    await rotate(server, admin, now=True, withdraw=[first])

    with pytest.raises(WrongTokenError):
        server.services.verifier.recheck(verified)


async def test_the_next_key_is_published_a_day_ahead_and_can_be_made_to_sign_at_once(server, admin, press):
    """Services that cache the JWKS know it already; if all keys are withdrawn, a new one replaces them."""
    _, first = await token_of(server, press)
    keys = await rotate(server, admin)
    assert [state for _, state in keys] == ["signing", "next"]
    second = keys[1][0]
    answer = await server.http.post(f"{KEYS}/rotate", json={}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "signing_key_published")
    server.clock.forward(seconds=1)

    assert await rotate(server, admin, now=True) == [(first, "retired"), (second, "signing")]
    assert (await token_of(server, press))[1] == second

    await rotate(server, admin)
    server.clock.forward(seconds=1)
    all_keys = await published(server)
    ((new, state),) = await rotate(server, admin, now=True, withdraw=all_keys)
    assert (state, new in all_keys, len(all_keys)) == ("signing", False, 3)


async def test_an_impossible_withdrawal_changes_nothing(server, admin):
    """An unknown key, alone or with a known one; and a withdrawal without another key that signs at once."""
    before = await published(server)

    for body, status in (
        ({"now": True, "withdraw": ["unknown"]}, 404),
        ({"now": True, "withdraw": [*before, "unknown"]}, 404),
        ({"withdraw": before}, 422),
    ):
        answer = await server.http.post(f"{KEYS}/rotate", json=body, headers=admin)
        assert answer.status_code == status, answer.text

    assert await published(server) == before


async def test_a_retired_key_does_not_count_as_withdrawn(server, admin, press):
    """No Worker is asked to renew because a retired key is removed, here or by a peer whose clock is ahead."""
    await rotate(server, admin)
    server.clock.forward(days=2)
    await server.services.signing_keys.refresh()
    server.clock.forward(days=2)
    await server.services.signing_keys.refresh()

    assert len(await published(server)) == 1
    assert server.services.signing_keys.withdrawals == 0


def forge(server, worker_id, credential):
    """Return a token that is valid for ten years, as a thief of the current signing key would make it."""
    return mint_worker_token(
        signer=server.services.signing_keys.signer,
        issuer=server.services.issuer,
        audience=server.services.issuer,
        worker=server.services.directory.find_worker(worker_id),
        credential=credential,
        now=server.clock(),
        ttl_s=10 * 365 * 24 * 3600,
        jti="forged",
    )


async def test_a_forged_token_is_refused_after_its_key_is_removed(server, admin, press):
    """Even if it was cached: a rotation ends what a thief of the previous key has made, even if the leak was never noticed."""
    real, first = await token_of(server, press)
    forged = forge(server, press[0], server.services.verifier.verify(real).claims.cred)
    server.clock.forward(seconds=1)
    await rotate(server, admin, now=True)
    assert (await server.verify(forged)).status_code == 204
    server.clock.forward(days=2)

    await server.services.signing_keys.refresh()

    assert first not in await published(server)
    refused = await server.verify(forged)
    assert (refused.status_code, await server.cause(refused)) == (401, "wrong_token")


async def test_a_key_that_is_about_to_be_removed_can_still_be_withdrawn(server, admin, press):
    """Even in its last minute: sessions must renew, and the tokens that it signed are refused."""
    real, first = await token_of(server, press)
    forged = forge(server, press[0], server.services.verifier.verify(real).claims.cred)
    server.clock.forward(seconds=1)
    await rotate(server, admin, now=True)
    items = (await server.http.get(KEYS, headers=admin)).json()["items"]
    (ends,) = [datetime.fromisoformat(key["retires_at"]) for key in items if key["kid"] == first]
    server.clock.forward(seconds=(ends - server.clock()).total_seconds() - 60)
    assert (await server.verify(forged)).status_code == 204

    await rotate(server, await server.sign_in(), now=True, withdraw=[first])

    assert server.services.signing_keys.withdrawals == 1
    assert (await server.verify(forged)).status_code == 401


async def test_a_withdrawn_key_does_not_come_back_with_a_load_that_began_before(server, admin, monkeypatch):
    """A periodic load that has read the key, and is slow, ends before the withdrawal or changes nothing after it."""
    store, keys = server.services.store, server.services.signing_keys
    has_read, may_return = asyncio.Event(), asyncio.Event()
    read = store.read

    async def slow_read(query):
        found = await read(query)
        has_read.set()
        await may_return.wait()
        return found

    monkeypatch.setattr(store, "read", slow_read)
    loading = asyncio.ensure_future(keys.refresh())
    await has_read.wait()
    monkeypatch.setattr(store, "read", read)
    (first,) = await published(server)
    server.clock.forward(seconds=1)
    rotating = asyncio.ensure_future(rotate(server, admin, now=True, withdraw=[first]))
    await asyncio.wait({rotating}, timeout=0.5)
    may_return.set()
    await asyncio.gather(loading, rotating)

    assert first not in keys.verification_keys
