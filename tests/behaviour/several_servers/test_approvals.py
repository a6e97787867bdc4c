"""Workers that wait for approval, on several Servers: a decision at one Server takes effect at all of them at once."""

import asyncio

from lyftdata.core.identity_keys import generate_identity_key


async def issue(server):
    """Issue a key whose Workers wait for approval; return it."""
    body = {"name": "etl-hosts", "mode": "approve"}
    answer = await server.http.post("/api/enrollment/keys", json=body, headers=await server.sign_in())
    return answer.json()["key"]


async def enroll(server, secret, name):
    """Enroll at a Server; return the ID and the identity key."""
    identity = generate_identity_key()
    proof = server.proof(identity, name, secret=secret, jti=identity.public.thumbprint)
    answer = await server.register(identity, name, credential=proof)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], identity


async def token(server, worker_id, identity, *, jti, **headers):
    """Ask a Server for a token."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": server.assertion(identity, worker_id, jti=jti),
    }
    return await server.http.post("/oauth2/token", data=form, headers=headers)


async def until_held(server):
    """Wait until a Server holds a request."""
    async with asyncio.timeout(180):
        while not len(server.services.held_requests):
            await asyncio.sleep(0.01)


async def test_an_approval_at_one_server_answers_the_worker_that_waits_at_another(two):
    """The Worker enrolls and is approved at the first Server; the second answers its held request and issues a token."""
    first, second = two
    worker_id, identity = await enroll(first, await issue(first), "etl-1")
    held = asyncio.create_task(token(second, worker_id, identity, jti="one", prefer="wait=30"))
    await until_held(second)
    listed = await second.http.get("/api/enrollment/pending", headers=await second.sign_in())
    assert [worker["id"] for worker in listed.json()["items"]] == [worker_id]

    body = {"worker_ids": [worker_id]}
    await first.http.post("/api/enrollment/approve", json=body, headers=await first.sign_in())

    assert (await held).headers["retry-after"] == "0"
    assert (await token(second, worker_id, identity, jti="two")).status_code == 200


async def test_a_worker_denied_at_one_server_is_refused_at_both(two):
    """Its held request at the other Server is answered at once."""
    first, second = two
    worker_id, identity = await enroll(first, await issue(first), "etl-1")
    held = asyncio.create_task(token(first, worker_id, identity, jti="one", prefer="wait=30"))
    await until_held(first)

    body = {"worker_ids": [worker_id]}
    await second.http.post("/api/enrollment/deny", json=body, headers=await second.sign_in())

    assert (await held).headers["retry-after"] == "0"
    answers = [
        await token(server, worker_id, identity, jti=server.services.store.server_id) for server in two
    ]
    assert [answer.json()["code"] for answer in answers] == ["approval_denied"] * 2
