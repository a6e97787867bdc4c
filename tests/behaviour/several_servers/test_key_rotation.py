"""Key rotations on several Servers: started at one, they take effect at all."""

import asyncio
from datetime import timedelta

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.clock import utc_now

KEY = "/api/api-keys/press-keys"


async def until(question):
    """Ask until the answer is true, and return it."""
    async with asyncio.timeout(180):
        while not (answer := await question()):
            await asyncio.sleep(0.01)
    return answer


async def post(server, path, **body):
    """Send a POST request that must succeed; return the answer."""
    answer = await server.http.post(path, json=body, headers=await server.sign_in())
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


async def shared_key(server, *worker_ids):
    """Add Workers, and issue a key for all of them."""
    for worker_id in worker_ids:
        await post(server, "/api/workers", name=worker_id, id=worker_id)
    return (await post(server, "/api/api-keys", name="press-keys"))["key"]


async def connect(server, worker_id, key):
    """Connect a Worker and hold its poll; return its token and the poll."""
    token = (await server.token_by_key(worker_id, key)).json()["access_token"]
    headers, body = {"Authorization": f"Bearer {token}"}, {"boot_id": "boot-0001"}
    assert (await server.http.post("/api/worker/session", json=body, headers=headers)).status_code == 200
    return token, asyncio.ensure_future(server.http.post("/api/worker/session", json=body, headers=headers))


async def test_both_servers_list_who_still_uses_an_old_key_and_ending_it_takes_effect_at_both(two):
    """Each lists the Workers of both Servers; when one Server ends the old key, sessions at the other end too."""
    first, second = two
    old = await shared_key(first, "press-01", "press-02")
    await second.http.get(KEY, headers=await second.sign_in())
    token, poll = await connect(second, "press-01", old)
    assert (await first.token_by_key("press-02", old)).status_code == 200
    new = (await post(first, f"{KEY}/rotate", ends_at=(utc_now() + timedelta(hours=1)).isoformat()))["key"]

    for server in two:
        headers = await server.sign_in()

        async def lagging(server=server, headers=headers):
            (previous,) = (await server.http.get(KEY, headers=headers)).json()["previous"]
            found = [(worker["id"], worker["online"]) for worker in previous["workers"]]
            return found == [("press-01", True), ("press-02", False)]

        await until(lagging)

    await post(first, f"{KEY}/end-previous")
    assert (await poll).status_code == 200
    for server in two:
        assert (await server.verify(token)).status_code == 401
        assert await server.cause(await server.token_by_key("press-01", old)) == "api_key_rotated"
        assert (await server.token_by_key("press-01", new)).status_code == 200

    async def is_cut_off():
        return second.services.sessions.find_here("press-01") is None

    await until(is_cut_off)


async def test_an_old_api_key_expires_at_every_server(two):
    """At its deadline, without a message between the Servers: tokens and the held poll end at the one that did not rotate it too."""
    first, second = two
    old = await shared_key(first, "press-01")
    token, poll = await connect(second, "press-01", old)
    begun = utc_now()
    new = (await post(first, f"{KEY}/rotate", grace_s=2))["key"]

    async def is_over():
        return (await second.verify(token)).status_code == 401

    await until(is_over)

    assert utc_now() >= begun + timedelta(seconds=2)
    assert (await poll).status_code == 200
    for server in two:
        assert await server.cause(await server.token_by_key("press-01", old)) == "api_key_rotated"
        assert (await server.token_by_key("press-01", new)).status_code == 200


async def test_an_ended_enrollment_key_is_refused_at_every_server(two):
    """Before that, both Servers list the hosts that enrolled with the old key."""
    first, second = two
    old = (await post(first, "/api/enrollment/keys", name="etl-hosts"))["key"]
    ends_at = utc_now() + timedelta(hours=1)
    await post(first, "/api/enrollment/keys/etl-hosts/rotate", ends_at=ends_at.isoformat())

    async def enroll(server, name):
        identity = generate_identity_key()
        proof = server.proof(identity, name, secret=old, jti=identity.public.thumbprint)
        return await server.register(identity, name, credential=proof)

    assert (await enroll(second, "late")).status_code == 201
    for server in two:
        headers = await server.sign_in()

        async def listed(server=server, headers=headers):
            view = (await server.http.get("/api/enrollment/keys/etl-hosts", headers=headers)).json()
            return [host["worker_name"] for host in view["previous"][0]["hosts"]] == ["late"]

        await until(listed)
    await post(second, "/api/enrollment/keys/etl-hosts/end-previous")
    for server in two:
        assert await server.cause(await enroll(server, "later")) == "enrollment_key_expired"


async def test_a_withdrawn_signing_key_is_refused_by_every_server(two):
    """Tokens that the other Server has cached are refused too; its Workers are told to get new tokens, which both accept."""
    first, second = two
    key = await shared_key(first, "press-01")
    token, poll = await connect(second, "press-01", key)
    assert [(await server.verify(token)).status_code for server in two] == [204, 204]
    (kid,) = first.services.signing_keys.verification_keys

    await post(first, "/api/signing-keys/rotate", now=True, withdraw=[kid])

    assert (await first.verify(token)).status_code == 401
    assert [directive["kind"] for directive in (await poll).json()["directives"]] == ["renew"]
    assert (await second.verify(token)).status_code == 401
    jwks = [(await server.http.get("/.well-known/jwks.json")).json()["keys"] for server in two]
    assert jwks[0] == jwks[1]
    assert kid not in {jwk["kid"] for jwk in jwks[0]}
    new = (await second.token_by_key("press-01", key)).json()["access_token"]
    assert [(await server.verify(new)).status_code for server in two] == [204, 204]
