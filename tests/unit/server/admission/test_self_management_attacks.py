"""Attacks on RFC 7592: an attacker who has seen a Worker's token or public key wants the Worker's identity for good."""

import asyncio

import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER
from tests.deployment import ASSERTION_TYPE
from tests.oauth_requests import bearer, dpop, enrolled_by_secret

from lyftdata.core.identity_keys import generate_identity_key


def metadata(worker_id, key, name="press"):
    """Return what a client sends to replace the key of its entry."""
    return {"client_id": worker_id, "client_name": name, "jwks": {"keys": [key.public.as_dict()]}}


async def worker_token(server, worker_id, key):
    """Return a bearer token, as every service that the Worker calls sees it."""
    return (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]


async def token_bound_to(server, worker_id, key, dpop_key):
    """Return a token of a Worker, bound to a key."""

    def form():
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": server.assertion(key, worker_id),
        }

    first = await server.http.post("/oauth2/token", data=form(), headers={"DPoP": dpop(dpop_key, server)})
    proof = dpop(dpop_key, server, nonce=first.headers["dpop-nonce"])
    answer = await server.http.post("/oauth2/token", data=form(), headers={"DPoP": proof})
    return answer.json()["access_token"]


async def manage_bound(server, method, worker_id, token, dpop_key, **body):
    """Send a request about an entry, with a bound token and a proof."""
    url = f"{ISSUER}/oauth2/register/{worker_id}"
    proof = dpop(dpop_key, server, method=method, url=url, token=token)
    return await server.http.request(
        method, url, headers={"Authorization": f"DPoP {token}", "DPoP": proof}, **body
    )


async def test_a_worker_token_alone_cannot_take_over_a_worker(server):
    """Otherwise a service that gets the Worker's token, or its COMMAND, could register its own key for good."""
    worker_id, key = await server.enrolled()
    stolen = await worker_token(server, worker_id, key)
    thief = generate_identity_key()
    url = f"{ISSUER}/oauth2/register/{worker_id}"

    put = await server.http.put(url, json=metadata(worker_id, thief), headers=bearer(stolen))
    delete = await server.http.delete(url, headers=bearer(stolen))

    assert [(a.status_code, a.json()["error"]) for a in (put, delete)] == [(401, "invalid_token")] * 2
    assert (await server.token_by_assertion(server.assertion(thief, worker_id))).status_code == 401
    assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200


async def test_a_token_bound_to_another_key_cannot_take_over_a_worker(server):
    """To prove any key is not to prove the Worker's."""
    worker_id, key = await server.enrolled()
    other = generate_identity_key()
    token = await token_bound_to(server, worker_id, key, other)

    put = await manage_bound(server, "PUT", worker_id, token, other, json=metadata(worker_id, other))

    assert (put.status_code, put.json()["error"]) == (401, "invalid_token")


async def test_a_worker_that_proves_its_identity_key_can_manage_its_entry(server):
    """With a token bound to that key and a proof, it replaces its key; from then on it must prove the new one."""
    worker_id, key = await server.enrolled()
    token = await token_bound_to(server, worker_id, key, key)
    fresh = generate_identity_key()

    put = await manage_bound(server, "PUT", worker_id, token, key, json=metadata(worker_id, fresh))

    assert put.status_code == 200, put.text
    assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 401
    again = await token_bound_to(server, worker_id, fresh, fresh)
    assert (await manage_bound(server, "DELETE", worker_id, again, fresh)).status_code == 204


async def test_a_public_key_and_the_enrollment_key_cannot_take_over_a_worker(server):
    """A public key is not secret: registering another's again returns the ID, but no token to manage the entry."""
    registered, key = await enrolled_by_secret(server)
    worker_id = registered["client_id"]

    again = await server.register(key, "press", credential=ENROLLMENT_KEY)

    assert (again.status_code, again.json()["client_id"]) == (201, worker_id)
    assert "registration_access_token" not in again.json()
    read = await server.http.get(
        registered["registration_client_uri"], headers=bearer(registered["registration_access_token"])
    )
    assert read.status_code == 200


async def test_a_copied_registration_token_works_once(server):
    """If owner and thief use it at the same moment, one succeeds and the other learns that it has expired."""
    registered, _ = await enrolled_by_secret(server)
    bodies = [metadata(registered["client_id"], generate_identity_key()) for _ in range(2)]
    headers = bearer(registered["registration_access_token"])

    answers = await asyncio.gather(
        *(
            server.http.put(registered["registration_client_uri"], json=body, headers=headers)
            for body in bodies
        )
    )

    assert sorted(a.status_code for a in answers) == [200, 401]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_worker_that_was_just_disabled_cannot_change_its_entry(server, admin, method):
    """Even at a Server that does not know it yet: the entry stays as it is."""
    registered, _ = await enrolled_by_secret(server)
    worker_id = registered["client_id"]
    find = server.services.directory.find_worker
    stale = find(worker_id)
    await server.http.patch(f"/api/workers/{worker_id}", json={"enabled": False}, headers=admin)
    # As a peer sees it that has not received the change yet.
    server.services.directory.find_worker = lambda asked: stale if asked == worker_id else find(asked)

    answer = await server.http.request(
        method,
        registered["registration_client_uri"],
        json=metadata(worker_id, generate_identity_key()),
        headers=bearer(registered["registration_access_token"]),
    )

    server.services.directory.find_worker = find
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    now = find(worker_id)
    assert (now.enabled, now.thumbprint) == (False, stale.thumbprint)


async def test_of_two_concurrent_deletions_one_succeeds(server):
    """The second is refused as unknown, not as an internal error."""
    registered, _ = await enrolled_by_secret(server)
    headers = bearer(registered["registration_access_token"])
    answers = await asyncio.gather(
        *(server.http.delete(registered["registration_client_uri"], headers=headers) for _ in range(2))
    )
    assert sorted(a.status_code for a in answers) == [204, 401]


async def test_key_changes_of_a_worker_are_rate_limited(server):
    """Each is an audit event, and a write for which others wait."""
    registered, _ = await enrolled_by_secret(server)
    token, answers = registered["registration_access_token"], []
    for _ in range(22):
        body = metadata(registered["client_id"], generate_identity_key())
        answers.append(
            await server.http.put(registered["registration_client_uri"], json=body, headers=bearer(token))
        )
        token = answers[-1].json().get("registration_access_token", token)
    assert [a.status_code for a in answers] == [200] * 20 + [503] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
