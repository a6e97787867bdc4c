"""Enrollment keys that operators issue, on several Servers: what one decides, all do."""

import asyncio

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.store.tables import workers

KEYS = "/api/enrollment/keys"


async def issue(server, name="etl-hosts", **rules):
    """Issue a key at a Server and return it."""
    answer = await server.http.post(KEYS, json={"name": name} | rules, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def enroll(server, secret, name):
    """Enroll at a Server by a proof of a secret."""
    identity = generate_identity_key()
    proof = server.proof(identity, name, secret=secret, jti=identity.public.thumbprint)
    return await server.register(identity, name, credential=proof)


async def test_a_key_enrolls_at_another_server_at_once(two):
    """The word of it need not have arrived: before a key is called wrong, what others have issued is asked for."""
    first, second = two
    for number in range(3):
        key = await issue(first, f"etl-hosts-{number}")
        answer = await enroll(second, key, f"etl-{number}")
        assert answer.status_code == 201, answer.text
        raw = await second.register(generate_identity_key(), f"raw-{number}", credential=key)
        assert raw.status_code == 201


async def test_a_revoked_key_enrolls_nowhere(two):
    """From the answer on: in the transaction the database is asked, whatever this Server has heard."""
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


async def test_of_many_that_race_at_two_servers_for_the_last_uses_as_many_get_in(two):
    """Five at each Server, three uses, three entries; the uses are the same at both."""
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


async def test_enrollments_against_the_rules_at_two_servers_are_counted_and_rehearsed_as_one(two):
    """A key that warns counts at both; the rehearsal at one finds what was admitted and refused at the other."""
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


async def test_a_key_that_is_used_up_at_one_server_is_so_at_the_other(start_server):
    """Where it was the only one, Auto-Enrollment is off at both."""
    async with (
        start_server(LYFTDATA_AUTO_ENROLLMENT_KEY="") as first,
        start_server(LYFTDATA_AUTO_ENROLLMENT_KEY="") as second,
    ):
        key = await issue(first, max_uses=1)
        assert (await enroll(second, key, "etl-1")).status_code == 201

        async with asyncio.timeout(180):
            while any(server.services.enrollment.is_enabled() for server in (first, second)):
                await asyncio.sleep(0.01)
