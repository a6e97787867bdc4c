"""Which Workers enroll with a key, for an operator who waits for hosts."""

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.scopes import UNLIMITED, scope_of
from lyftdata.server.admin.enrollment_watch import EnrollmentWatch

KEYS = "/api/enrollment/keys"


async def issue(server, admin, name="etl-hosts", **rules):
    """Issue a key."""
    answer = await server.http.post(KEYS, json={"name": name} | rules, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def enroll(server, secret, name, *, address="127.0.0.1"):
    """Enroll with a proof of a key; return the answer and the identity key."""
    identity = generate_identity_key()
    async with server.from_address(address) as http:
        answer = await http.post(
            "/oauth2/register",
            json={"client_name": name, "jwks": {"keys": [identity.public.as_dict()]}},
            headers={"Authorization": f"Bearer {server.proof(identity, name, secret=secret)}"},
        )
    return answer, identity


async def connect(server, answer, identity):
    """Connect a Worker that has enrolled."""
    worker_id = answer.json()["client_id"]
    token = (await server.token_by_assertion(server.assertion(identity, worker_id))).json()["access_token"]
    polled = await server.http.post(
        "/api/worker/session", json={"boot_id": "boot-0001"}, headers={"Authorization": f"Bearer {token}"}
    )
    assert polled.status_code == 200, polled.text


async def seen(server, name="etl-hosts", *, scope=UNLIMITED, with_wrong_keys=True):
    """Return what the panel of a key shows."""
    key = await server.services.enrollment_key_queries.get(name, scope=scope)
    watch: EnrollmentWatch = server.services.enrollment_watch
    since = key.rotated_at or key.created_at
    return await watch.find(key.fingerprint, since=since, scope=scope, with_wrong_keys=with_wrong_keys)


async def test_workers_of_the_key_are_counted_and_listed(server, admin):
    """Those that enrolled with it, latest first; not those of another key, nor of the previous generation."""
    key, other = await issue(server, admin), await issue(server, admin, "other-hosts")
    first, identity = await enroll(server, key, "etl-1")
    server.clock.forward(seconds=1)
    await enroll(server, key, "etl-2")
    await enroll(server, other, "etl-3")
    await connect(server, first, identity)

    found = await seen(server)

    assert (found.total, found.online, found.pending) == (2, 1, 0)
    assert [worker.name for worker in found.latest] == ["etl-2", "etl-1"]
    await server.http.post(f"{KEYS}/etl-hosts/rotate", json={"grace_s": 3600}, headers=admin)
    assert (await seen(server)).total == 0


async def test_workers_that_wait_for_approval_are_counted(server, admin):
    """An operator must decide about them; a denied one does not count any more."""
    key = await issue(server, admin, mode="approve")
    answer, _ = await enroll(server, key, "etl-1")

    assert ((await seen(server)).total, (await seen(server)).pending) == (1, 1)
    body = {"worker_ids": [answer.json()["client_id"]]}
    assert (await server.http.post("/api/enrollment/deny", json=body, headers=admin)).status_code == 200
    assert ((await seen(server)).total, (await seen(server)).pending) == (0, 0)


async def test_a_refusal_by_a_rule_is_shown_until_that_worker_enrolls(server, admin):
    """With its cause, whether written or not; refusals of another key, or from before the key was issued, are not shown."""
    key = await issue(server, admin, networks=["10.4.0.0/16"])
    await enroll(server, await issue(server, admin, "other-hosts", worker_name="x"), "etl-9")
    await enroll(server, key, "etl-1", address="192.0.2.1")
    await enroll(server, key, "etl-1", address="192.0.2.1")

    unwritten = await seen(server)
    await server.services.refusals.flush()
    written = await seen(server)

    for found in (unwritten, written):
        (group,) = found.refused
        assert (group.code, group.claimed_worker, group.address, group.count) == (
            "enrollment_network_not_allowed",
            "etl-1",
            "192.0.2.1",
            2,
        )
    await enroll(server, key, "etl-1", address="10.4.0.1")
    assert ((await seen(server)).total, (await seen(server)).refused) == (1, [])


async def test_a_wrong_key_is_shown_to_operators_who_may_read_refusals(server, admin):
    """The most common mistake is a wrong value; an operator limited to a team must not see attempts of other teams' hosts."""
    await enroll(server, "x" * 40, "before")
    server.clock.forward(seconds=1)
    await issue(server, admin)
    await enroll(server, "y" * 40, "etl-1", address="192.0.2.1")

    (wrong,) = (await seen(server)).wrong

    assert (wrong.code, wrong.address) == ("wrong_enrollment_key", "192.0.2.1")
    assert (await seen(server, with_wrong_keys=False)).wrong == []


async def test_workers_outside_the_scope_are_left_out(server, admin):
    """A Worker may have been given to another team since."""
    key = await issue(server, admin, labels={"team": "etl"})
    answer, _ = await enroll(server, key, "etl-1")
    await enroll(server, key, "etl-2")
    path = f"/api/workers/{answer.json()['client_id']}"
    assert (await server.http.patch(path, json={"labels": {"team": "ops"}}, headers=admin)).status_code == 200

    found = await seen(server, scope=scope_of({"team": "etl"}))

    assert [worker.name for worker in found.latest] == ["etl-2"]
