"""Enrollment keys of mode `warn`: which rules only warn, which still refuse, and what is recorded."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from tests.builders import SECRET_KEY

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.store.tables import refusals

KEYS = "/api/enrollment/keys"
NETWORK, NAME = "enrollment_network_not_allowed", "enrollment_name_not_allowed"


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(opened, request):
    """Return a Server on each database."""
    environ = {}
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster").new_database()
        environ = {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as server:
        yield server


async def issue(server, name="etl-hosts", **rules):
    """Issue a key of mode `warn` and return it."""
    body = {"name": name, "mode": "warn"} | rules
    answer = await server.http.post(KEYS, json=body, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def enroll(server, secret, name="etl-1", *, identity=None):
    """Enroll with a proof of a secret, from 127.0.0.1."""
    identity = identity or generate_identity_key()
    return await server.register(identity, name, credential=server.proof(identity, name, secret=secret))


async def enrolled(server):
    """Return the details of each enrollment in the audit log, latest first."""
    page = await server.services.audit_queries.list_page(limit=100, action="worker.enrolled")
    return [item.details for item in page.items]


async def shown(server, name="etl-hosts"):
    """Return a key as operators see it."""
    return (await server.http.get(f"{KEYS}/{name}", headers=await server.sign_in())).json()


@pytest.mark.parametrize(
    ("rules", "codes"),
    [
        ({"networks": ["10.4.0.0/16"]}, NETWORK),
        ({"worker_name": "press-*"}, NAME),
        ({"networks": ["10.4.0.0/16"], "worker_name": "press-*"}, f"{NETWORK},{NAME}"),
        ({"networks": ["127.0.0.0/8"], "worker_name": "etl-*"}, None),
        ({}, None),
    ],
)
async def test_a_key_that_warns_enrolls_and_records_each_broken_rule(server, rules, codes):
    """In the audit event, the log, the metrics and the key's own count; for a Worker that keeps the rules nothing is recorded."""
    key = await issue(server, **rules)

    with capture_logs() as logs:
        answer = await enroll(server, key)

    assert answer.status_code == 201, answer.text
    assert (await enrolled(server))[0].get("would_refuse") == codes
    view = await shown(server)
    number = 0 if codes is None else 1
    assert (view["mode"], view["warned"], view["uses"]) == ("warn", number, 1)
    metrics = (await server.http.get("/metrics")).text
    assert f"lyftdata_enrollments_against_rules_total {number}.0" in metrics
    logged = [log for log in logs if log["event"] == "enrolled_against_rules"]
    assert [(log["worker"], log["key"], log["codes"]) for log in logged] == [
        (answer.json()["client_id"], "etl-hosts", codes)
    ] * number


async def test_the_limits_of_a_key_apply_in_mode_warn(either):
    """A key that is revoked, expired or used up is refused, whatever other rules the Worker breaks: a leaked key is of limited use."""
    headers = await either.sign_in()
    broken = {"networks": ["10.4.0.0/16"], "worker_name": "press-*"}
    used_up = await issue(either, "used-up-key", max_uses=1, **broken)
    keys = {
        "enrollment_key_revoked": await issue(either, "revoked-key", **broken),
        "enrollment_key_expired": await issue(either, "expired-key", expires_in_s=60, **broken),
        "enrollment_key_used_up": used_up,
    }
    assert (await enroll(either, used_up, "etl-0")).status_code == 201
    await either.http.post(f"{KEYS}/revoked-key/revoke", headers=headers)
    either.clock.forward(seconds=60)

    assert {code: await either.cause(await enroll(either, key)) for code, key in keys.items()} == {
        code: code for code in keys
    }
    assert (await shown(either, "used-up-key"))["warned"] == 1


async def test_a_rotated_key_still_warns_and_its_old_generation_expires(server):
    """The mode is kept, like the rules; warnings are counted over all generations."""
    old = await issue(server, worker_name="press-*")
    await enroll(server, old, "etl-1")
    rotated = await server.http.post(f"{KEYS}/etl-hosts/rotate", json={}, headers=await server.sign_in())
    new = rotated.json()["key"]

    assert (await enroll(server, new, "etl-2")).status_code == 201
    assert await server.cause(await enroll(server, old, "etl-3")) == "enrollment_key_expired"
    assert (await shown(server))["warned"] == 2


async def test_a_worker_that_breaks_a_rule_cannot_take_a_name(either):
    """With a key that only warns, a Worker outside its rules supersedes no offline Worker, and the refusal gives the use back."""
    first = await enroll(either, await issue(either, "press-hosts"), "press-1")
    assert first.status_code == 201
    either.clock.forward(hours=1)
    key = await issue(either, worker_name="etl-*", max_uses=1)

    refused = await enroll(either, key, "press-1")

    assert await either.cause(refused) == NAME
    worker = either.services.directory.find_worker(first.json()["client_id"])
    assert worker.superseded_by is None
    view = await shown(either)
    assert (view["uses"], view["warned"], view["status"]) == (0, 0, "live")
    assert (await enroll(either, key, "press-2")).status_code == 201


async def test_a_worker_that_keeps_the_rules_supersedes_as_with_any_key(server):
    """Only Workers that break a rule cannot take names."""
    key = await issue(server, worker_name="etl-*")
    first = await enroll(server, key, "etl-1")
    server.clock.forward(hours=1)

    second = await enroll(server, key, "etl-1")

    worker = server.services.directory.find_worker(first.json()["client_id"])
    assert worker.superseded_by == second.json()["client_id"]


async def test_a_retry_that_breaks_a_rule_is_counted_once(server):
    """Retries after a lost answer leave one entry, one use and one warning."""
    key, identity = await issue(server, worker_name="press-*"), generate_identity_key()

    answers = [await enroll(server, key, identity=identity) for _ in range(3)]

    assert len({answer.json()["client_id"] for answer in answers}) == 1
    view = await shown(server)
    assert (view["uses"], view["warned"]) == (1, 1)
    assert len(await enrolled(server)) == 1


async def test_a_key_that_warns_cannot_have_approval_rules(server):
    """They would suggest that Workers wait for approval."""
    body = {"name": "etl-hosts", "mode": "warn", "approve_name": "etl-*"}

    answer = await server.http.post(KEYS, json=body, headers=await server.sign_in())

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_issuing_a_key_audits_its_mode(server):
    """A reviewer sees which keys do not enforce their rules."""
    await issue(server, worker_name="press-*")

    page = await server.services.audit_queries.list_page(limit=1, action="enrollment_key.issued")

    assert page.items[0].details["mode"] == "warn"


async def test_a_refusal_by_a_rule_has_the_fingerprint_of_the_key(either):
    """So that attempts with one key are found, in all its generations."""
    key = await issue(
        either, mode="auto", worker_name="press-*", expires_in_s=int(timedelta(days=1).total_seconds())
    )
    await enroll(either, key)
    await either.services.refusals.flush()

    reference = (await either.services.refusal_queries.list_groups(limit=1))[0].last_reference
    attempt = await either.services.store.read(lambda conn: refusals.find_reference(conn, reference))

    assert attempt.enrollment_key == (await shown(either))["fingerprint"]
