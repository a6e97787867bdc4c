"""Incidents: which Workers used a leaked key or an address, what they got, and cutting them off."""

import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER
from tests.deployment import Deployment

from lyftdata.core.identity_keys import generate_identity_key

AWAY = "203.0.113.9"
GRANT = {"grant_type": "client_credentials"}
ORDERS = "https://orders.example"


async def key_for_all(server: Deployment, admin, name="press-keys") -> str:
    """Issue an API key for every Worker, and define a resource for them."""
    body = {"name": "orders", "audience": ORDERS, "for_all_workers": True, "include_enrolled": True}
    await server.http.post("/api/resources", json=body, headers=admin)
    answer = await server.http.post("/api/api-keys", json={"name": name}, headers=admin)
    return str(answer.json()["key"])


async def add(server: Deployment, admin, *worker_ids: str) -> None:
    """Add Workers of strategy `api_key`."""
    for worker_id in worker_ids:
        await server.http.post("/api/workers", json={"name": worker_id, "id": worker_id}, headers=admin)


async def connect(server: Deployment, worker_id: str, key: str, *, address: str = AWAY, **host: str) -> str:
    """Get a token for `orders` and open a session; return the token for the Server."""
    async with server.from_address(address) as http:
        form = GRANT | {"client_id": worker_id, "client_secret": key}
        await http.post("/oauth2/token", data=form | {"resource": ORDERS})
        answer = await http.post("/oauth2/token", data=form)
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        poll = {"boot_id": f"boot-{worker_id}", "host": host}
        assert (await http.post("/api/worker/session", json=poll, headers=headers)).status_code == 200
    return str(answer.json()["access_token"])


async def report(server: Deployment, admin, subject: str, since: str = ""):
    """Return the report of an incident."""
    query = {"subject": subject, "since": since}
    answer = await server.http.get("/api/incident", params=query, headers=admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def cut_off(server: Deployment, admin, subject: str, workers="all", *, revoke_key=True, **more):
    """Cut Workers off, and return the progress."""
    body = {"subject": subject, "workers": workers, "revoke_key": revoke_key} | more
    answer = await server.http.post("/api/incident/cut-offs", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_the_report_of_a_leaked_api_key_lists_its_workers(server, admin):
    """Those that used it, from where, with which tokens until when, and which are connected; no others."""
    key = await key_for_all(server, admin)
    other = await key_for_all(server, admin, "other-keys")
    await add(server, admin, "press-01", "press-02", "press-03")
    await connect(server, "press-01", key, hostname="evil")
    await connect(server, "press-02", key, address="198.51.100.7")
    await connect(server, "press-03", other)
    server.services.sessions.sign_off("press-02", "boot-press-02")

    found = await report(server, admin, "press-keys", "1h")

    assert found["subject"] == {
        "kind": "api-key",
        "name": "press-keys",
        "text": "api-key:press-keys",
        "is_live": True,
        "can_be_revoked": True,
    }
    assert (found["workers_total"], found["connected"]) == (2, 1)
    first, second = found["workers"]
    assert (first["id"], first["hostname"], first["address"]) == ("press-01", "evil", AWAY)
    assert first["reasons"] == ["got_tokens_by_it", "connected_by_it"]
    assert {origin["resource"] for origin in first["tokens"]} == {"orders", None}
    assert (second["id"], second["connected_since"]) == ("press-02", None)
    assert [(t["audience"], t["workers"]) for t in found["tokens"]] == [(ISSUER, 2), (ORDERS, 2)]
    assert found["networks"] == ["198.51.100.0/24", "203.0.113.0/24"]
    assert found["not_recorded"]
    assert (await report(server, admin, key[9:19]))["subject"]["name"] == "press-keys"


async def test_a_report_omits_earlier_use_unless_still_connected(server, admin):
    """From exactly the given second on."""
    key = await key_for_all(server, admin)
    await add(server, admin, "press-01", "press-02")
    await connect(server, "press-01", key)
    await connect(server, "press-02", key)
    server.services.sessions.sign_off("press-02", "boot-press-02")
    then = server.clock().isoformat()
    server.clock.forward(hours=1)

    assert (await report(server, admin, "press-keys", then))["workers_total"] == 2
    late = await report(server, admin, "press-keys", "30m")
    assert [(worker["id"], worker["reasons"]) for worker in late["workers"]] == [
        ("press-01", ["connected_by_it"])
    ]


async def test_revoking_the_key_also_cuts_off_workers_that_were_not_chosen(server, admin):
    """One event names them; those not chosen stay enabled, and can connect again with a new key."""
    key = await key_for_all(server, admin)
    await add(server, admin, "press-01", "press-02")
    token = await connect(server, "press-01", key)
    await connect(server, "press-02", key)
    before = server.services.store.audit_length

    done = await cut_off(server, admin, "press-keys", workers=["press-02"])

    assert (done["workers"], done["still_connected"], done["key_revoked"]) == (2, 0, True)
    assert server.services.sessions.online_ids() == []
    assert (await server.verify(token)).status_code == 401
    assert (await server.token_by_key("press-01", key)).status_code == 401
    assert server.services.store.audit_length == before + 1
    enabled = [server.services.directory.find_worker(w).enabled for w in ("press-01", "press-02")]
    assert enabled == [True, False]
    log = (await server.http.get("/api/audit", params={"limit": 1}, headers=admin)).json()["items"]
    assert log[0]["action"] == "incident.cut_off"
    assert (log[0]["subject"], log[0]["details"]["workers"]) == ("api_key:press-keys", "press-02")
    assert (await report(server, admin, "press-keys"))["cut_offs"][0]["number"] == log[0]["number"]


@pytest.mark.parametrize(("action", "stays"), [("disable", True), ("delete", False)])
async def test_workers_enrolled_with_a_leaked_key_are_cut_off(server, admin, action, stays):
    """Only those since the given time; a deleted one may enroll again under its old name, a disabled one may not."""
    await server.enrolled("before")
    server.clock.forward(hours=2)
    admin = await server.sign_in()
    worker_id, key = await server.enrolled("etl-1")
    token = await server.token_by_assertion(server.assertion(key, worker_id))

    # A generated key has a public ID by which a leaked key can be looked up.
    assert (await report(server, admin, ENROLLMENT_KEY[16:26]))["subject"]["name"] == "startup"
    found = await report(server, admin, "startup", "1h")
    assert [(w["id"], w["reasons"]) for w in found["workers"]] == [(worker_id, ["enrolled_with_it"])]
    done = await cut_off(server, admin, "startup", since="1h", action=action, revoke_key=False)

    assert (done["worker_ids"], done["still_connected"]) == ([worker_id], 0)
    assert (await server.verify(token.json()["access_token"])).status_code == 401
    assert (server.services.directory.find_worker(worker_id) is not None) is stays
    again = await server.register(generate_identity_key(), "etl-1")
    assert again.status_code == (409 if stays else 201), again.text
    assert server.services.directory.worker_count() == 2


async def test_an_issued_enrollment_key_is_revoked_with_its_workers(server, admin):
    """It enrolls no Worker from the same event on."""
    answer = await server.http.post("/api/enrollment/keys", json={"name": "etl-hosts"}, headers=admin)
    secret = answer.json()["key"]
    key = generate_identity_key()
    made = await server.register(key, "etl-1", credential=server.proof(key, "etl-1", secret=secret))

    done = await cut_off(server, admin, "enrollment-key:etl-hosts")

    assert done["worker_ids"] == [made.json()["client_id"]]
    other = generate_identity_key()
    late = await server.register(other, "etl-2", credential=server.proof(other, "etl-2", secret=secret))
    assert await server.cause(late) == "enrollment_key_revoked"
    assert not (await report(server, admin, "etl-hosts"))["subject"]["is_live"]


async def test_an_enrollment_key_from_the_settings_cannot_be_revoked_here(server, admin):
    """The answer says what to do, and nothing is changed."""
    worker_id, _ = await server.enrolled()
    body = {"subject": "startup", "workers": "all", "revoke_key": True}
    answer = await server.http.post("/api/incident/cut-offs", json=body, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (409, "key_cannot_be_revoked")
    assert "LYFTDATA_AUTO_ENROLLMENT_KEY" in answer.json()["hint"]
    assert server.services.directory.find_worker(worker_id).enabled


@pytest.mark.parametrize("subject", [AWAY, "203.0.113.0/24", "address:203.0.113.77", "host:EVIL.example"])
async def test_a_report_may_be_about_an_address_a_network_or_a_host(server, admin, subject):
    """Sessions, tokens and enrollments from there. An address counts as its network, which is all that is stored of it."""
    key = await key_for_all(server, admin)
    await add(server, admin, "press-01", "press-02")
    await connect(server, "press-01", key, hostname="evil.example")
    await connect(server, "press-02", key, address="198.51.100.7", hostname="good.example")

    found = await report(server, admin, subject)

    assert [worker["id"] for worker in found["workers"]] == ["press-01"]
    assert {tokens["audience"] for tokens in found["tokens"]} == {ISSUER, ORDERS}
    assert not found["subject"]["can_be_revoked"]


async def test_an_enrollment_from_an_address_is_found(server, admin):
    """Even if the Worker got no token since."""
    key = generate_identity_key()
    async with server.from_address(AWAY) as http:
        body = {"client_name": "etl-1", "jwks": {"keys": [key.public.as_dict()]}}
        bearer = {"Authorization": f"Bearer {server.proof(key, 'etl-1')}"}
        made = await http.post("/oauth2/register", json=body, headers=bearer)

    found = await report(server, admin, "203.0.113.0/24")

    assert [(w["id"], w["reasons"]) for w in found["workers"]] == [
        (made.json()["client_id"], ["enrolled_from_there"])
    ]


@pytest.mark.parametrize(
    ("subject", "status", "code"),
    [
        ("there-is-none", 404, "incident_subject_not_found"),
        ("api-key:there-is-none", 404, "api_key_not_found"),
        ("worker:there-is-none", 404, "worker_not_found"),
        ("address:there", 422, "invalid_input"),
        (ENROLLMENT_KEY, 422, "invalid_input"),
        ("press-keys", 409, "incident_subject_ambiguous"),
    ],
)
async def test_an_unknown_or_ambiguous_subject_is_rejected(server, admin, subject, status, code):
    """With the problem. A complete key is not accepted, because URLs are logged, and not repeated."""
    await key_for_all(server, admin)
    await add(server, admin, "press-keys")

    answer = await server.http.get("/api/incident", params={"subject": subject}, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ENROLLMENT_KEY not in answer.text


@pytest.mark.parametrize("since", ["tomorrow", "2999-01-01T00:00Z", "-1h", "1e400"])
async def test_an_invalid_or_future_time_is_rejected(server, admin, press, since):
    """The answer names the field."""
    query = {"subject": press[0], "since": since}
    answer = await server.http.get("/api/incident", params=query, headers=admin)

    assert (answer.status_code, answer.json()["field"]) == (422, "since")


async def test_a_worker_that_reconnected_is_not_still_connected(server, admin, press):
    """It was cut off; what it did later does not count."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    poll, headers = {"boot_id": "boot-0001"}, {"Authorization": f"Bearer {token}"}
    await server.http.post("/api/worker/session", json=poll, headers=headers)
    done = await cut_off(server, admin, "press-01", revoke_key=False)
    server.clock.forward(minutes=1)
    await server.http.patch("/api/workers/press-01", json={"enabled": True}, headers=admin)
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = await server.http.post("/api/worker/session", json=poll, headers=headers)
    assert answer.status_code == 200

    again = await server.http.get(f"/api/incident/cut-offs/{done['number']}", headers=admin)

    assert again.json()["still_connected_ids"] == []


async def test_an_audit_event_of_another_kind_is_not_a_cut_off(server, admin, press):
    """Neither is a number that is not in the log."""
    for number in (1, 10_000):
        answer = await server.http.get(f"/api/incident/cut-offs/{number}", headers=admin)
        assert answer.status_code == 404


async def test_a_chosen_worker_that_does_not_exist_is_an_error(server, admin):
    """No Worker is cut off, and the answer names the ID: a mistyped one would otherwise seem to be cut off."""
    await key_for_all(server, admin)
    await add(server, admin, "press-01")
    body = {"subject": "press-keys", "workers": ["press-01", "pres-02"], "revoke_key": True}

    answer = await server.http.post("/api/incident/cut-offs", json=body, headers=admin)

    assert (answer.status_code, answer.json()["field"]) == (422, "workers")
    assert "pres-02" in answer.json()["detail"]
    assert (await server.http.get("/api/workers/press-01", headers=admin)).json()["enabled"]
    assert (await server.http.get("/api/api-keys/press-keys", headers=admin)).json()["status"] == "live"


async def test_a_cut_off_is_in_the_audit_log_of_each_of_its_workers(server, admin):
    """Also of one whose session ended with the key, but not of one whose ID is part of another's."""
    key = await key_for_all(server, admin)
    await add(server, admin, "press-01", "press-010", "press-02")
    await connect(server, "press-02", key)
    await cut_off(server, admin, "press-keys", ["press-010"])

    async def actions(worker_id):
        query = {"subject": f"worker:{worker_id}"}
        answer = await server.http.get("/api/audit", params=query, headers=admin)
        return [event["action"] for event in answer.json()["items"]]

    assert await actions("press-010") == ["incident.cut_off", "worker.created"]
    assert await actions("press-02") == ["incident.cut_off", "worker.created"]
    assert await actions("press-01") == ["worker.created"]


async def test_a_cut_off_shows_which_workers_are_back_on_another_key(server, admin):
    """Each that is back is counted under the key that it uses now; disabled ones cannot come back."""
    key = await key_for_all(server, admin)
    await add(server, admin, "press-01", "press-02", "press-03")
    for worker_id in ("press-01", "press-02", "press-03"):
        await connect(server, worker_id, key)
    done = await cut_off(server, admin, "press-keys", ["press-03"])
    assert (done["workers"], done["still_connected"], done["back"], done["disabled"]) == (3, 0, 0, 1)
    assert sorted(done["not_back_ids"]) == ["press-01", "press-02", "press-03"]

    server.clock.forward(minutes=1)
    other = await key_for_all(server, admin, "press-keys-2")
    await connect(server, "press-01", other)
    progress = await server.http.get(f"/api/incident/cut-offs/{done['number']}", headers=admin)

    assert (progress.json()["back"], progress.json()["back_by_key"]) == (1, {"press-keys-2": 1})
    assert sorted(progress.json()["not_back_ids"]) == ["press-02", "press-03"]
    assert (await report(server, admin, "press-keys"))["cut_offs"][0]["back"] == 1


async def test_the_manual_steps_for_a_compromised_host_name_its_live_keys(server, admin):
    """With how many other Workers use them; a key that was revoked since is not named."""
    key, gone = await key_for_all(server, admin), await key_for_all(server, admin, "gone-keys")
    await add(server, admin, "press-01", "press-02", "press-03")
    await connect(server, "press-01", gone, hostname="evil")
    server.services.sessions.sign_off("press-01", "boot-press-01")
    server.clock.forward(seconds=1)
    await connect(server, "press-01", key, hostname="evil")
    await connect(server, "press-02", key, hostname="good")
    await connect(server, "press-03", key, hostname="good")
    await server.http.post("/api/api-keys/gone-keys/revoke", headers=admin)

    steps = (await report(server, admin, "host:evil"))["by_hand"]

    assert [step["code"] for step in steps] == [
        "replace_api_key",
        "rebuild_host",
        "check_operators",
        "offline_tokens",
    ]
    assert steps[0]["subject"] == "api-key:press-keys"
    assert "2 other Workers are connected with it." in steps[0]["text"]


async def test_the_manual_steps_for_an_enrolled_worker_name_its_enrollment_key(server, admin):
    """The host may hold that key too."""
    worker_id, _ = await server.enrolled()

    steps = (await report(server, admin, worker_id))["by_hand"]

    assert (steps[0]["code"], steps[0]["subject"]) == ("replace_enrollment_key", "enrollment-key:startup")


@pytest.mark.parametrize(
    ("subject", "code"),
    [("press-keys", "issue_api_key"), ("etl-hosts", "issue_enrollment_key"), ("startup", "change_setting")],
)
async def test_the_manual_step_for_a_leaked_key_is_to_replace_it(server, admin, subject, code):
    """How depends on its kind. No Worker has got a token, so none is accepted offline."""
    await key_for_all(server, admin)
    await server.http.post("/api/enrollment/keys", json={"name": "etl-hosts"}, headers=admin)

    assert [step["code"] for step in (await report(server, admin, subject))["by_hand"]] == [code]
