"""`POST /oauth2/register`: Auto-Enrollment."""

import asyncio
import base64
from datetime import timedelta

import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.sessions.session import Boot
from lyftdata.store.tables import workers


def connect(server, worker_id):
    """Register a session, so that the Worker counts as connected."""
    record = server.services.directory.find_worker(worker_id)
    boot = Boot(boot_id="boot-0001", host={"hostname": "h"}, reported_labels={}, address="192.0.2.1")
    server.services.sessions.attach(record, boot, f"jkt.{record.thumbprint}.{record.epoch}")


async def entries(server):
    """Return every Worker entry by ID."""
    return {w.id: w for w in await server.services.store.read(lambda conn: list(workers.all_workers(conn)))}


async def test_a_proof_enrolls_a_worker(server):
    """The answer is that of RFC 7591; the entry has the enrollment key's fingerprint, the address and the labels."""
    key = generate_identity_key()

    answer = await server.register(key, "press", labels={"zone": "eu-1"})

    assert answer.status_code == 201
    body = answer.json()
    entry = (await entries(server))[body["client_id"]]
    assert body["client_name"] == entry.name == "press"
    assert body["token_endpoint_auth_method"] == "private_key_jwt"
    assert entry.labels == {"zone": "eu-1"}
    assert entry.enrolled_with == server.services.enrollment.keys[0].fingerprint
    assert entry.enrolled_from == "127.0.0.1"


async def test_the_enrollment_key_itself_enrolls_a_worker(server):
    """A client without our library sends it as RFC 7591's initial access token."""
    answer = await server.register(generate_identity_key(), "press", credential=ENROLLMENT_KEY)

    assert answer.status_code == 201


async def test_a_retry_with_the_same_key_gets_the_same_id(server):
    """One entry and one ID, whatever name it asks for now."""
    key = generate_identity_key()
    ids = [(await server.register(key, name)).json()["client_id"] for name in ("press", "press", "other")]

    assert len(set(ids)) == 1
    assert len(await entries(server)) == 1


async def test_concurrent_requests_with_one_key_make_one_entry(server):
    """However many a Worker sends at once."""
    key = generate_identity_key()
    answers = await asyncio.gather(*(server.register(key, "press") for _ in range(20)))

    assert {a.status_code for a in answers} == {201}
    assert len({a.json()["client_id"] for a in answers}) == 1
    assert len(await entries(server)) == 1


async def test_concurrent_requests_for_one_name_leave_one_entry_live(server):
    """The other Workers are superseded, and no entry is left incomplete."""
    answers = await asyncio.gather(*(server.register(generate_identity_key(), "press") for _ in range(20)))

    live = [w for w in (await entries(server)).values() if w.superseded_by is None]
    assert {a.status_code for a in answers} == {201}
    assert len(live) == 1


async def test_a_captured_proof_works_once_in_concurrent_requests(server):
    """All requests but one are refused, and other Workers are not affected."""
    key = generate_identity_key()
    proof = server.proof(key, "press")
    unaffected = [server.register(generate_identity_key(), f"press {n}") for n in range(5)]
    racing = [server.register(key, "press", credential=proof) for _ in range(20)]
    answers = await asyncio.gather(*racing, *unaffected)

    assert sorted(a.status_code for a in answers) == [201] * 6 + [401] * 19
    refused = [a for a in answers if a.status_code == 401]
    assert {await server.cause(a) for a in refused} == {"proof_replayed"}
    assert len(await entries(server)) == 6


async def test_every_refused_enrollment_gets_the_same_answer(server):
    """Wrong, expired, replayed, misdirected and missing credentials are indistinguishable to the caller."""
    key = generate_identity_key()
    used = server.proof(key, "press")
    assert (await server.register(key, "press", credential=used)).status_code == 201
    cases = {
        "wrong_enrollment_key": server.proof(key, "press", secret="x" * 32),
        "proof_expired": server.proof(key, "press", now=server.clock() - timedelta(hours=4)),
        "proof_replayed": used,
        "malformed_proof": server.proof(key, "press", audience="https://other.example"),
        "proof_not_for_key": server.proof(generate_identity_key(), "press"),
    }
    seen = set()
    for code, credential in cases.items():
        answer = await server.register(key, "press", credential=credential)
        assert answer.status_code == 401, code
        assert await server.cause(answer) == code
        seen.add(answer.text.replace(answer.json()["reference"], "REFERENCE"))
    raw = await server.register(key, "press", credential="y" * 43)
    assert await server.cause(raw) == "wrong_enrollment_key"
    none = await server.http.post("/oauth2/register", json={})
    assert await server.cause(none) == "missing_credentials"
    seen |= {a.text.replace(a.json()["reference"], "REFERENCE") for a in (raw, none)}

    assert len(seen) == 1
    assert len(await entries(server)) == 1


async def test_disabled_enrollment_looks_like_a_wrong_key(opened):
    """If the Server has no enrollment key, no Worker enrolls, and a caller cannot see that enrollment is off."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="") as server:
        key = generate_identity_key()
        for credential in (server.proof(key, "press"), ENROLLMENT_KEY):
            answer = await server.register(key, "press", credential=credential)
            assert answer.json()["error_description"] == "Authentication failed."
            assert await server.cause(answer) == "enrollment_disabled"


async def test_a_captured_proof_does_not_enroll_a_thief(server):
    """With the thief's key or another name it is refused, and the rightful Worker can still use it."""
    key, thief = generate_identity_key(), generate_identity_key()
    proof = server.proof(key, "press")

    stolen_key = await server.register(thief, "press", credential=proof)
    stolen_name = await server.register(key, "other", credential=proof)

    assert [await server.cause(a) for a in (stolen_key, stolen_name)] == ["proof_not_for_key"] * 2
    assert (await server.register(key, "press", credential=proof)).status_code == 201


async def test_only_operators_see_how_far_a_clock_is_off(server):
    """It is in the refusal's detail; the Worker gets a reference only."""
    answer = await server.register(
        generate_identity_key(),
        "p",
        credential=server.proof(generate_identity_key(), "p", now=server.clock() + timedelta(hours=2)),
    )
    admin = await server.sign_in()
    refusal = (await server.http.get(f"/api/refusals/{answer.json()['reference']}", headers=admin)).json()

    assert refusal["code"] == "proof_expired"
    assert "2h" in refusal["detail"]
    assert "2h" not in answer.text


async def test_a_private_key_sent_by_mistake_is_refused(server):
    """It is not stored or echoed, and the whole request fails so that the sender notices."""
    key = generate_identity_key()
    jwk = key.jose_key.as_dict(private=True)
    answer = await server.register(key, "press", credential=ENROLLMENT_KEY, jwks={"keys": [jwk]})

    assert answer.status_code == 400
    assert jwk["d"] not in answer.text


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'"x"', b"[" * 5000])
async def test_a_body_that_is_not_a_json_object_is_rejected(server, content):
    """With 400."""
    answer = await server.http.post(
        "/oauth2/register", content=content, headers={"Authorization": f"Bearer {ENROLLMENT_KEY}"}
    )
    assert answer.status_code == 400


# --- names -----------------------------------------------------------------------------------------------


async def test_a_connected_worker_keeps_its_name(server):
    """A newcomer that asks for it is refused with the cause, and may try again later."""
    holder, _ = await server.enrolled("press")
    connect(server, holder)

    answer = await server.register(generate_identity_key(), "press")

    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["final"]) == ("name_in_use", False)
    assert list(await entries(server)) == [holder]


async def test_an_offline_worker_is_superseded_and_learns_it(server, admin):
    """The newcomer gets a new ID; the old entry gets no more tokens and learns why, and the audit log has the event."""
    holder, key = await server.enrolled("press")
    token = (await server.token_by_assertion(server.assertion(key, holder))).json()["access_token"]
    newcomer, _ = await server.enrolled("press")

    assert newcomer != holder
    answer = await server.token_by_assertion(server.assertion(key, holder))
    assert (answer.status_code, answer.json()["code"], answer.json()["final"]) == (400, "superseded", True)
    assert (await server.verify(token)).status_code == 401
    again = await server.register(key, "press")
    assert again.json()["code"] == "superseded"
    events = (
        await server.http.get("/api/audit", headers=admin, params={"action": "worker.superseded"})
    ).json()["items"]
    assert events[0]["details"] == {"name": "press", "by": newcomer}


async def test_a_disabled_worker_does_not_come_back_under_its_own_name(server, admin):
    """Deleting its directory and enrolling again does not undo an operator's decision."""
    holder, _ = await server.enrolled("press")
    await server.http.patch(f"/api/workers/{holder}", json={"enabled": False}, headers=admin)

    answer = await server.register(generate_identity_key(), "press")

    assert answer.json()["code"] == "name_in_use"


async def test_an_entry_added_by_an_operator_is_never_superseded(server, press):
    """Knowing the enrollment key is not enough to take its name."""
    answer = await server.register(generate_identity_key(), "press-01")

    assert answer.json()["code"] == "name_in_use"


@pytest.mark.parametrize(("policy", "status"), [("reject", 409), ("allow", 201)])
async def test_the_name_policies_reject_and_allow(opened, policy, status):
    """`reject` keeps the name for its holder; `allow` lets both have it, and both log in."""
    async with opened(LYFTDATA_WORKER_NAME_POLICY=policy) as server:
        holder, key = await server.enrolled("press")
        answer = await server.register(generate_identity_key(), "press")

        assert answer.status_code == status
        assert (await server.token_by_assertion(server.assertion(key, holder))).status_code == 200


async def test_a_worker_authenticates_by_its_own_strategy_only(server, admin, press):
    """An enrolled Worker cannot use an API key, and a Worker with an API key cannot use an assertion."""
    worker_id, key = await server.enrolled()
    await server.http.post("/api/api-keys", json={"name": "shared"}, headers=admin)

    by_key = await server.token_by_key(worker_id, press[1])
    by_assertion = await server.token_by_assertion(server.assertion(key, "press-01"))

    assert await server.cause(by_key) == "api_key_not_for_worker"
    assert await server.cause(by_assertion) == "wrong_strategy"


async def test_rotating_the_enrollment_key_interrupts_no_worker(opened):
    """Both keys enroll while the old one is set as previous, entries show which was used, and enrolled Workers need neither."""
    new = ENROLLMENT_KEY[::-1]
    async with opened() as server:
        worker_id, key = await server.enrolled("old")
    async with opened(
        LYFTDATA_AUTO_ENROLLMENT_KEY=new, LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS=ENROLLMENT_KEY
    ) as server:
        assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200
        late, fresh = generate_identity_key(), generate_identity_key()
        assert (await server.register(late, "late")).status_code == 201
        assert (
            await server.register(fresh, "fresh", credential=server.proof(fresh, "fresh", secret=new))
        ).status_code == 201
        counted = [
            server.services.directory.enrolled_with(k.fingerprint) for k in server.services.enrollment.keys
        ]
        assert counted == [1, 2]


async def test_a_name_is_kept_for_its_holder_after_a_restart(opened):
    """

    Right after its start the Server has no sessions: a Worker that may have been connected keeps its name for two minutes.

    Even if the database has no session of it: a crash loses the last second of activity. And even if the clock was set
    back.
    """
    async with opened() as server:
        for name in ("press", "gone", "came"):
            await server.enrolled(name)
        came, key = await server.enrolled("left")
        clock = server.clock
    clock.forward(seconds=-2)
    async with opened(clock) as server:
        server.jti_from(100)
        taken = await server.register(generate_identity_key(), "press")
        token = (await server.token_by_assertion(server.assertion(key, came))).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        for sign_off in (False, True):
            poll = {"boot_id": "boot-0001", "sign_off": sign_off}
            await server.http.post("/api/worker/session", json=poll, headers=headers)
        has_left = await server.register(generate_identity_key(), "left")
        await server.enrolled("fresh")
        accepted = await server.register(generate_identity_key(), "fresh")
        clock.forward(minutes=2)
        given_up = await server.register(generate_identity_key(), "press")

    assert (taken.status_code, taken.json()["code"]) == (409, "name_in_use")
    assert [a.status_code for a in (has_left, accepted, given_up)] == [201, 201, 201]


async def test_a_refused_proof_is_used_up(server, admin, press):
    """Captured when its Worker was refused, it does not enroll once the name is free."""
    key = generate_identity_key()
    proof = server.proof(key, "press-01")
    refused = await server.register(key, "press-01", credential=proof)
    await server.http.delete("/api/workers/press-01", headers=admin)

    assert refused.json()["code"] == "name_in_use"
    assert await server.cause(await server.register(key, "press-01", credential=proof)) == "proof_replayed"


async def test_used_proofs_are_remembered_after_a_restart(opened):
    """A proof is single use also across a restart."""
    key = generate_identity_key()
    async with opened() as server:
        proof = server.proof(key, "press")
        assert (await server.register(key, "press", credential=proof)).status_code == 201
        clock = server.clock
    async with opened(clock) as server:
        assert await server.cause(await server.register(key, "press", credential=proof)) == "proof_replayed"


async def test_a_failing_store_is_an_outage_and_not_a_refusal(server, monkeypatch):
    """On a full disk the Worker gets 503 with Retry-After; no entry is left incomplete, and it enrolls afterwards."""
    from lyftdata.store import StoreError

    async def full(*_op):
        raise StoreError("The database failed: disk full.")

    key = generate_identity_key()
    monkeypatch.setattr(server.services.store, "write_batched", full)
    answer = await server.register(key, "press")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "reference" not in answer.json()
    monkeypatch.undo()
    assert (await server.register(key, "press")).status_code == 201


async def test_a_caller_with_the_enrollment_key_cannot_flood_the_refusal_log(server, admin):
    """Made-up names do not count separately: beyond the limit, its refusals share one reference a minute."""
    unknown_caller = await server.token_by_key("press-99", "nonsense")
    for n in range(60):
        await server.http.post(
            "/oauth2/register",
            json={"client_name": f"x{n}", "jwks": {}},
            headers={"Authorization": f"Bearer {ENROLLMENT_KEY}"},
        )
    groups = (await server.http.get("/api/refusals", params={"limit": 200}, headers=admin)).json()["items"]

    assert sum(group["code"] == "invalid_registration" for group in groups) <= 21
    assert any(group["last_reference"] == unknown_caller.json()["reference"] for group in groups)


async def test_a_key_of_small_order_is_rejected(server):
    """Anyone could sign for such a key."""
    x = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
    answer = await server.http.post(
        "/oauth2/register",
        json={"client_name": "press", "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}},
        headers={"Authorization": f"Bearer {ENROLLMENT_KEY}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_registration")
