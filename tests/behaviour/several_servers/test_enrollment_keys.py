"""Enrollment keys that operators issue, on several Servers: a change at one Server takes effect at all of them."""

import asyncio

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.store.tables import workers

KEYS = "/api/enrollment/keys"


async def issue(server, name="etl-hosts", **rules):
    """Issue a key at a Server; return it."""
    answer = await server.http.post(KEYS, json={"name": name} | rules, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def enroll(server, secret, name):
    """Enroll at a Server with a proof of a secret."""
    identity = generate_identity_key()
    proof = server.proof(identity, name, secret=secret, jti=identity.public.thumbprint)
    return await server.register(identity, name, credential=proof)


async def test_a_key_can_be_used_at_another_server_at_once(two):
    """Its notification need not have arrived: a Server re-reads the changes of its peers before it refuses an unknown key."""
    first, second = two
    for number in range(3):
        key = await issue(first, f"etl-hosts-{number}")
        answer = await enroll(second, key, f"etl-{number}")
        assert answer.status_code == 201, answer.text
        raw = await second.register(generate_identity_key(), f"raw-{number}", credential=key)
        assert raw.status_code == 201


async def test_a_revoked_key_is_refused_at_every_server_at_once(two):
    """From the moment the revocation is answered: the transaction checks the database, whatever the Server has received."""
    first, second = two
    key = await issue(first)
    assert (await enroll(second, key, "etl-1")).status_code == 201
    await first.http.post(f"{KEYS}/etl-hosts/revoke", headers=await first.sign_in())

    refused = [await enroll(server, key, "etl-2") for server in (second, first)]

    assert [await s.cause(a) for s, a in zip((second, first), refused, strict=True)] == [
        "enrollment_key_revoked"
    ] * 2
    async with asyncio.timeout(180):
        while second.services.directory.find_enrollment_key(key[16:26]).revoked_at is None:
            await asyncio.sleep(0.01)


async def test_a_race_at_two_servers_does_not_exceed_the_uses_of_a_key(two):
    """Of five hosts at each Server exactly three enroll with a key for three uses, and both Servers show three uses."""
    first = two[0]
    key = await issue(first, max_uses=3)

    answers = await asyncio.gather(
        *(enroll(server, key, f"etl-{n}-{i}") for i, server in enumerate(two) for n in range(5))
    )

    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [401] * 7
    entries = await first.services.store.read(lambda conn: list(workers.all_workers(conn)))
    assert len(entries) == 3
    for server in two:
        view = (await server.http.get(f"{KEYS}/etl-hosts", headers=await server.sign_in())).json()
        assert (view["uses"], view["status"]) == (3, "used_up")


async def test_enrollments_that_break_a_rule_are_counted_and_rehearsed_across_servers(two):
    """A key in warn mode counts those of both Servers; a rehearsal at one finds what the other admitted and refused."""
    first, second = two
    warns, refuses = (
        await issue(first, mode="warn", worker_name="press-*"),
        await issue(first, "press-hosts", worker_name="press-*"),
    )
    answers = await asyncio.gather(
        *(enroll(server, warns, f"etl-{n}-{i}") for i, server in enumerate(two) for n in range(3))
    )
    await enroll(second, refuses, "etl-1")
    await second.services.refusals.flush()

    for server in two:
        headers = await server.sign_in()
        view = (await server.http.get(f"{KEYS}/etl-hosts", headers=headers)).json()
        found = (await server.http.post(f"{KEYS}/etl-hosts/rehearse", json={}, headers=headers)).json()
        refused = (await server.http.post(f"{KEYS}/press-hosts/rehearse", json={}, headers=headers)).json()
        assert (view["warned"], found["newly_refused"], found["attempts"]) == (6, 6, 6)
        assert [(item["worker_name"], item["recorded"]) for item in refused["items"]] == [
            ("etl-1", "refused")
        ]
    assert [answer.status_code for answer in answers] == [201] * 6


async def test_a_key_used_up_at_one_server_is_used_up_at_the_other(start_server):
    """If it was the only key, Auto-Enrollment is off at both."""
    async with (
        start_server(LYFTDATA_AUTO_ENROLLMENT_KEY="") as first,
        start_server(LYFTDATA_AUTO_ENROLLMENT_KEY="") as second,
    ):
        key = await issue(first, max_uses=1)
        assert (await enroll(second, key, "etl-1")).status_code == 201

        async with asyncio.timeout(180):
            while any(server.services.enrollment.is_enabled() for server in (first, second)):
                await asyncio.sleep(0.01)
