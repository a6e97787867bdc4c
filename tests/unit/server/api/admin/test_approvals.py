"""Workers that wait for approval: what they get, what operators see, and what each decision does."""

import asyncio

import pytest
from tests.builders import SECRET_KEY

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.admission import approval_queue
from lyftdata.store.tables import workers

HOST = {"hostname": "press-02.example", "os": "Linux 6.1", "favourite": "blue"}


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(opened, request):
    """Return a Server on SQLite and on PostgreSQL."""
    environ = {}
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster").new_database()
        environ = {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as server:
        yield server


class Newcomer:
    """A host with its own identity key and an enrollment key."""

    def __init__(self, server, secret, name="etl-1"):
        self.server = server
        self.secret = secret
        self.name = name
        self.identity = generate_identity_key()
        self.id = ""

    async def enroll(self, *, http=None):
        """Enroll and return the answer."""
        body = {"client_name": self.name, "jwks": {"keys": [self.identity.public.as_dict()]}, "host": HOST}
        proof = self.server.proof(self.identity, self.name, secret=self.secret)
        bearer = {"Authorization": f"Bearer {proof}"}
        answer = await (http or self.server.http).post("/oauth2/register", json=body, headers=bearer)
        self.id = answer.json().get("client_id", "")
        return answer

    async def token(self, **headers):
        """Request a token."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self.server.assertion(self.identity, self.id),
        }
        return await self.server.http.post("/oauth2/token", data=form, headers=headers)


async def issue(server, name="etl-hosts", **rules):
    """Issue a key whose Workers wait for approval, and return it."""
    body = {"name": name, "mode": "approve"} | rules
    answer = await server.http.post("/api/enrollment/keys", json=body, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def decide(server, action, *ids):
    """Approve or deny Workers and return the result for each."""
    answer = await server.http.post(
        f"/api/enrollment/{action}", json={"worker_ids": ids}, headers=await server.sign_in()
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def pending(server):
    """Return the Workers that wait for approval."""
    answer = await server.http.get("/api/enrollment/pending", headers=await server.sign_in())
    return answer.json()["items"]


async def waiting(server, name="etl-1", **rules):
    """Return a newcomer that waits for approval."""
    newcomer = Newcomer(server, await issue(server, **rules), name)
    answer = await newcomer.enroll()
    assert answer.status_code == 201, answer.text
    return newcomer


async def audited(server, action):
    """Return actor, subject and details of the events with an action."""
    page = await server.services.audit_queries.list_page(limit=100, action=action)
    return [(item.actor, item.subject, item.details) for item in page.items]


async def until_held(server, number=1):
    """Wait until this number of requests is held."""
    async with asyncio.timeout(180):
        while len(server.services.held_requests) != number:
            await asyncio.sleep(0)


async def test_a_newcomer_gets_a_token_once_it_is_approved(either):
    """Until then it gets none, and operators see its name, key fingerprint, host and address."""
    newcomer = await waiting(either)

    answer = await newcomer.token()

    assert answer.status_code == 400
    body = answer.json()
    assert (body["error"], body["code"], body["final"]) == (
        "authorization_pending",
        "awaiting_approval",
        False,
    )
    assert int(answer.headers["retry-after"]) > 0
    (shown,) = await pending(either)
    assert shown["thumbprint"] == newcomer.identity.public.thumbprint
    assert (shown["id"], shown["name"], shown["enrollment_key"]) == (newcomer.id, "etl-1", "etl-hosts")
    assert shown["host"] == {"hostname": "press-02.example", "os": "Linux 6.1"}
    assert shown["address"]
    (decided,) = await decide(either, "approve", newcomer.id)
    assert decided == {"id": newcomer.id, "name": "etl-1", "problem": None, "detail": None}
    assert (await newcomer.token()).status_code == 200
    assert await pending(either) == []
    ((actor, subject, details),) = await audited(either, "worker.approved")
    assert (actor, subject) == ("operator:admin", f"worker:{newcomer.id}")
    assert details["fingerprint"] == newcomer.identity.public.thumbprint


async def test_waiting_for_approval_is_not_a_refusal(server):
    """A Worker may ask for days, which would fill the list of refusals and its graph."""
    newcomer = await waiting(server)

    for _ in range(3):
        await newcomer.token()

    await server.services.refusals.flush()
    assert await server.services.refusal_queries.list_groups(limit=10) == []
    assert server.services.metrics.refusals == 0
    assert "lyftdata_workers_pending 1.0" in (await server.http.get("/metrics")).text


async def test_a_held_request_is_answered_when_the_operator_decides(server):
    """With `Prefer: wait` the answer comes with the decision, and has the Worker ask again at once."""
    secret = await issue(server)
    for action, then in (("approve", 200), ("deny", 400)):
        newcomer = Newcomer(server, secret, f"etl-{action}")
        await newcomer.enroll()
        held = asyncio.create_task(newcomer.token(prefer="respond-async, wait=30"))
        await until_held(server)

        await decide(server, action, newcomer.id)

        answer = await held
        assert answer.json()["error"] == "authorization_pending"
        assert answer.headers["retry-after"] == "0"
        assert (await newcomer.token()).status_code == then


async def test_only_one_request_of_a_worker_is_held(server):
    """A second one releases the first, so that a Worker cannot tie up connections; a stop releases all."""
    newcomer = await waiting(server)
    first = asyncio.create_task(newcomer.token(prefer="wait=30"))
    await until_held(server)
    second = asyncio.create_task(newcomer.token(prefer="wait=30"))

    assert (await first).headers["retry-after"] == "1"
    await until_held(server)
    server.services.held_requests.close()

    assert (await second).headers["retry-after"] == "1"
    assert (await newcomer.token(prefer="wait=30")).headers["retry-after"] == "1"


async def test_a_denied_worker_is_refused_for_good_and_can_still_be_approved(server):
    """Its refusal is final and has the cause. Registering again with the same identity key does not put it back in the queue."""
    newcomer = await waiting(server)
    await decide(server, "deny", newcomer.id, newcomer.id)

    refused = await newcomer.token()

    body = refused.json()
    assert (refused.status_code, body["error"]) == (400, "access_denied")
    assert (body["code"], body["final"]) == ("approval_denied", True)
    assert await server.cause(refused) == "approval_denied"
    again = await newcomer.enroll()
    assert (again.status_code, again.json()["code"]) == (403, "approval_denied")
    assert len(await audited(server, "worker.denied")) == 1
    newcomer.id = body_id(await audited(server, "worker.denied"))
    await decide(server, "approve", newcomer.id)
    assert (await newcomer.token()).status_code == 200


def body_id(events):
    """Return the Worker that the only event is about."""
    ((_, subject, _),) = events
    return subject.removeprefix("worker:")


async def test_a_worker_that_never_waited_is_not_approved_or_denied(server, press):
    """One with an API key, one enrolled without approval, one approved by a rule: nothing is changed or audited."""
    by_rule = await waiting(server, "etl-1", approve_name="etl-*")
    by_setting = await server.register(generate_identity_key(), "scaler-1")
    ids = [press[0], by_rule.id, by_setting.json()["client_id"]]

    for action in ("approve", "deny"):
        decided = await decide(server, action, *ids)
        assert [(one["id"], one["problem"]) for one in decided] == [
            (one, "worker_not_pending") for one in ids
        ]
        assert await audited(server, "worker.approved") == await audited(server, "worker.denied") == []


async def test_each_of_several_workers_is_decided_separately(server):
    """A problem with one is reported, and does not affect the others."""
    first = await waiting(server)
    second = Newcomer(server, first.secret, "etl-2")
    await second.enroll()

    decided = await decide(server, "approve", first.id, "w-missing", second.id)
    denied = await decide(server, "deny", first.id)

    assert [one["problem"] for one in decided] == [None, "worker_not_found", None]
    assert [one["problem"] for one in denied] == ["worker_approved"]
    assert (await first.token()).status_code == 200
    assert (await second.token()).status_code == 200


async def test_a_pending_worker_supersedes_no_holder_of_its_name(server):
    """Only when it is approved is an offline holder superseded."""
    key = generate_identity_key()
    holder_id = (await server.register(key, "etl-1")).json()["client_id"]
    newcomer = await waiting(server)

    find = server.services.directory.find_worker
    assert find(holder_id).superseded_by is None
    assert (await pending(server))[0]["name_holder"] == holder_id
    await decide(server, "approve", newcomer.id)

    assert find(holder_id).superseded_by == newcomer.id
    assert (await newcomer.token()).status_code == 200


async def test_a_pending_worker_does_not_reserve_its_name(server):
    """Anyone with the key could otherwise block names; a Worker whose name was taken meanwhile is not approved under it."""
    newcomer = await waiting(server)
    added = await server.http.post(
        "/api/workers", json={"name": "etl-1", "id": "press"}, headers=await server.sign_in()
    )
    assert added.status_code == 201, added.text

    (decided,) = await decide(server, "approve", newcomer.id)

    assert decided["problem"] == "worker_name_taken"
    assert "press" in decided["detail"]
    assert (await newcomer.token()).json()["code"] == "awaiting_approval"


async def test_a_pending_worker_cannot_change_its_key(server):
    """The operator approves the fingerprint that was shown; until then the registration token gives no access."""
    secret = await issue(server)
    identity = generate_identity_key()
    answer = await server.register(identity, "etl-1", credential=secret)
    token = {"Authorization": f"Bearer {answer.json()['registration_access_token']}"}
    path = f"/oauth2/register/{answer.json()['client_id']}"

    refused = [await server.http.request(method, path, headers=token, json={}) for method in ("GET", "PUT")]

    assert [(one.status_code, one.json()["code"]) for one in refused] == [(403, "awaiting_approval")] * 2


async def test_a_retry_gets_the_same_entry_and_costs_no_use(server):
    """An answer may be lost: the same identity key is in the queue once."""
    newcomer = await waiting(server, max_uses=1)
    first = newcomer.id

    assert (await newcomer.enroll()).status_code == 201
    assert newcomer.id == first
    assert len(await pending(server)) == 1
    second = Newcomer(server, newcomer.secret, "etl-2")
    assert await server.cause(await second.enroll()) == "enrollment_key_used_up"


@pytest.mark.parametrize(
    ("rules", "name", "address", "waits"),
    [
        ({"approve_networks": ["10.4.0.0/16"]}, "etl-1", "10.4.7.9", False),
        ({"approve_networks": ["10.4.0.0/16"]}, "etl-1", "10.5.0.1", True),
        ({"approve_name": "etl-*"}, "etl-1", "10.5.0.1", False),
        ({"approve_name": "etl-*"}, "press", "10.4.7.9", True),
        ({"approve_name": "etl-*", "approve_networks": ["10.4.0.0/16"]}, "etl-1", "10.4.7.9", False),
        ({"approve_name": "etl-*", "approve_networks": ["10.4.0.0/16"]}, "etl-1", "10.5.0.1", True),
        ({"approve_name": "etl-*", "approve_networks": ["10.4.0.0/16"]}, "press", "10.4.7.9", True),
    ],
)
async def test_a_worker_that_meets_the_keys_rules_is_approved_at_once(server, rules, name, address, waits):
    """Every rule of the key must match; the audit log says that a rule approved it."""
    newcomer = Newcomer(server, await issue(server, **rules), name)

    async with server.from_address(address) as http:
        assert (await newcomer.enroll(http=http)).status_code == 201

    assert (await newcomer.token()).status_code == (400 if waits else 200)
    ((_, _, details),) = await audited(server, "worker.enrolled")
    assert details["approval"] == ("pending" if waits else "rule")


async def test_a_rotated_key_keeps_its_approval_mode(server):
    """The new generation approves no more Workers by itself than the one before."""
    await issue(server, approve_name="etl-*")

    answer = await server.http.post(
        "/api/enrollment/keys/etl-hosts/rotate", json={}, headers=await server.sign_in()
    )

    view = answer.json()["enrollment_key"]
    assert (view["mode"], view["approve_name"], view["pending"]) == ("approve", "etl-*", 0)
    assert (await Newcomer(server, answer.json()["key"], "press").enroll()).status_code == 201
    assert len(await pending(server)) == 1


async def test_a_full_queue_refuses_newcomers_and_evicts_no_pending_worker(either, monkeypatch):
    """Newcomers learn that it is full and when to retry, and one key can take only a part of it."""
    monkeypatch.setattr(approval_queue, "MAX_PENDING", 3)
    monkeypatch.setattr(approval_queue, "MAX_PENDING_OF_A_KEY", 2)
    flooding, other = await issue(either, "leaked-key"), await issue(either, "other-hosts", max_uses=1)
    flood = [Newcomer(either, flooding, f"x-{number}") for number in range(4)]
    answers = [await newcomer.enroll() for newcomer in flood]
    assert [answer.status_code for answer in answers] == [201, 201, 429, 429]
    assert (answers[2].json()["code"], answers[2].json()["final"]) == ("approval_queue_full", False)
    assert int(answers[2].headers["retry-after"]) > 0
    honest = Newcomer(either, other, "etl-1")
    assert (await honest.enroll()).status_code == 201
    beyond = Newcomer(either, await issue(either, "third-hosts", max_uses=1), "etl-2")
    assert (await beyond.enroll()).status_code == 429
    assert {worker["name"] for worker in await pending(either)} == {"x-0", "x-1", "etl-1"}

    await decide(either, "deny", flood[0].id, flood[1].id)

    assert (await beyond.enroll()).status_code == 201, "the refusal gave the use of the key back"


async def test_concurrent_requests_do_not_exceed_the_queues_limit(server, monkeypatch):
    """Requests that arrive together are written in one batch, and are still counted one by one."""
    monkeypatch.setattr(approval_queue, "MAX_PENDING_OF_A_KEY", 2)
    secret = await issue(server)
    flood = [Newcomer(server, secret, f"x-{number}") for number in range(6)]

    answers = await asyncio.gather(*(newcomer.enroll() for newcomer in flood))

    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [429] * 4


async def test_an_undecided_worker_expires_and_is_deleted_later(either):
    """After the configured time it is refused for good; operators can approve it until its entry is deleted."""
    newcomer = await waiting(either)
    late = Newcomer(either, newcomer.secret, "etl-2")
    await late.enroll()
    approvals, clock = either.services.approvals, either.clock
    clock.forward(days=7)
    await approvals.expire()
    assert (await newcomer.token()).json()["code"] == "awaiting_approval", "not a moment before"
    clock.forward(seconds=1)

    await approvals.expire()

    refused = (await newcomer.token()).json()
    assert (refused["error"], refused["code"], refused["final"]) == (
        "expired_token",
        "approval_expired",
        True,
    )
    assert await pending(either) == []
    headers = await either.sign_in()
    for status, ids in (("expired", {newcomer.id, late.id}), ("denied", set())):
        listed = (await either.http.get("/api/workers", params={"status": status}, headers=headers)).json()
        assert {worker["id"] for worker in listed["items"]} == ids, status
    assert len(await audited(either, "worker.approval_expired")) == 2
    await decide(either, "approve", late.id)
    assert (await late.token()).status_code == 200
    clock.forward(days=7, seconds=1)
    await approvals.expire()
    entries = await either.services.store.read(lambda conn: list(workers.all_workers(conn)))
    assert [entry.id for entry in entries] == [late.id]
    assert body_id(await audited(either, "worker.deleted")) == newcomer.id


async def test_the_audit_log_shows_access_from_the_approval_on(server):
    """Not from the enrollment on."""
    newcomer = await waiting(server)
    before = server.clock()
    server.clock.forward(minutes=1)
    await decide(server, "approve", newcomer.id)

    async def access(at):
        found = await server.services.audit_queries.access_at(at, now=server.clock())
        return {worker.worker_id: str(worker.access) for worker in found.workers}

    assert await access(before) == {newcomer.id: "not_approved"}
    assert await access(server.clock()) == {newcomer.id: "yes"}
    server.clock.forward(minutes=1)
    await server.http.delete(f"/api/workers/{newcomer.id}", headers=await server.sign_in())
    assert await access(before) == {newcomer.id: "not_approved"}


async def test_the_approval_routes_need_a_session_and_a_worker(server):
    """Unauthenticated requests get 401, and an empty list of Workers is rejected."""
    newcomer = await waiting(server)
    admin = await server.sign_in()
    body = {"name": "vera", "role": "viewer"}
    made = await server.http.post("/api/operators", json=body, headers=admin)
    assert made.status_code == 201, made.text
    assert (await server.http.get("/api/enrollment/pending")).status_code == 401
    for action in ("approve", "deny"):
        path = f"/api/enrollment/{action}"
        assert (await server.http.post(path, json={"worker_ids": [newcomer.id]})).status_code == 401
        empty = await server.http.post(path, json={"worker_ids": []}, headers=admin)
        assert empty.status_code == 422


async def test_an_ephemeral_worker_is_not_removed_while_it_waits(server):
    """The time within which it must connect begins with the approval."""
    newcomer = await waiting(server, ephemeral=True)
    ephemeral, clock = server.services.ephemeral_workers, server.clock

    async def removed(**later):
        clock.forward(**later)
        await ephemeral.remove_absent()
        clock.forward(minutes=1)
        return await ephemeral.remove_absent()

    for _ in range(30):
        assert await removed(minutes=1) == 0
    await decide(server, "approve", newcomer.id)
    assert await removed(minutes=1) == 0
    assert (await newcomer.token()).status_code == 200
