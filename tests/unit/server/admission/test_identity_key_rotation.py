"""An identity key is rotated in two steps, each of which may be repeated, and operators see which Workers lag behind."""

import msgspec
import pytest
from tests.builders import NOON
from tests.identity_directories import IdentityDirectory
from tests.oauth_requests import bearer, enrolled_by_secret

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import SignatureCounterRecord
from lyftdata.core.signature_counter import SignatureNumber
from lyftdata.server.admission.signature_counters import Counted, count_signature


@pytest.fixture
async def host(server, tmp_path):
    """Return the directory of an enrolled Worker that has signed before."""
    directory = await IdentityDirectory.enroll(server, tmp_path / "host")
    assert (await directory.token(server)).status_code == 200
    return directory


async def register(server, directory, key):
    """Register a next key, signed by the directory's current one."""
    form = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": directory.sign(server),
        "next_key": key.public.canonical_jwk,
    }
    return await server.http.post("/api/worker/identity-key", data=form)


async def rotate(server, directory):
    """Rotate in both steps; return the previous key."""
    before, key = directory.key, generate_identity_key()
    answer = await register(server, directory, key)
    assert answer.status_code == 200, answer.text
    directory.key = key
    assert (await directory.token(server)).status_code == 200
    return before


async def shown(server, worker_id):
    """Return a Worker as operators see it."""
    return (await server.http.get(f"/api/workers/{worker_id}", headers=await server.sign_in())).json()


async def test_the_current_key_stays_valid_until_the_next_one_is_used(server, host):
    """Then it is refused, and so is every token issued for it."""
    old_token = (await host.token(server)).json()["access_token"]
    old, new = host.key, generate_identity_key()
    assert (await register(server, host, new)).status_code == 200
    assert (await register(server, host, new)).status_code == 200
    assert (await host.token(server)).status_code == 200
    assert (await server.verify(old_token)).status_code == 204

    host.key = new
    token = (await host.token(server)).json()["access_token"]

    assert (await server.verify(token)).status_code == 204
    assert (await server.verify(old_token)).status_code == 401
    assert (await register(server, host, new)).status_code == 200
    host.key = old
    assert (await host.token(server)).status_code == 401
    log = await server.http.get("/api/audit", headers=await server.sign_in())
    actions = [event["action"] for event in log.json()["items"]]
    assert actions.count("worker.next_key_registered") == actions.count("worker.key_rotated") == 1
    assert (await shown(server, host.worker_id))["thumbprint"] == new.public.thumbprint


async def test_a_restart_between_the_steps_changes_nothing(opened, tmp_path):
    """The Server stores the next key as durably as the current one."""
    async with opened() as server:
        host = await IdentityDirectory.enroll(server, tmp_path / "host")
        new = generate_identity_key()
        assert (await register(server, host, new)).status_code == 200
    async with opened() as server:
        assert (await host.token(server)).status_code == 200
        host.key = new
        assert (await host.token(server)).status_code == 200


async def test_the_signature_counter_continues_with_the_new_key(server, host, tmp_path):
    """A copy made after the rotation is found once its signatures lag behind the host's; one made before has a key that is refused."""
    early = host.copy(tmp_path / "early")
    await rotate(server, host)
    late = host.copy(tmp_path / "late")
    assert (await host.token(server)).status_code == 200

    assert await server.cause(await late.token(server)) == "identity_cloned"
    assert (await early.token(server)).status_code == 401
    assert (await host.token(server)).status_code == 200


def test_a_late_signature_by_the_previous_key_does_not_reset_the_counter():
    """A Server that does not know of the rotation yet counts it for the new key."""
    record = SignatureCounterRecord(worker_id="w", thumbprint="new", number=5, at_ms=5_000)
    late = Counted(
        "w", "old", SignatureNumber(number=6, at_ms=6_000), "192.0.2.1", NOON, rotation=("old", "new")
    )

    after = count_signature(record, late)

    assert after is not None
    assert (after.thumbprint, after.number) == ("new", 6)


async def test_the_key_of_another_worker_is_rejected(server, host, tmp_path):
    """Its current key and its next one: an assertion could authenticate either Worker."""
    other = await IdentityDirectory.enroll(server, tmp_path / "other", name="other")
    others_next = generate_identity_key()
    assert (await register(server, other, others_next)).status_code == 200

    for taken in (other.key, others_next):
        answer = await register(server, host, taken)
        assert (answer.status_code, "Another Worker has this key" in answer.text) == (400, True)
    again = await server.register(others_next, "other")
    assert again.json()["client_id"] == other.worker_id


async def test_only_the_identity_key_can_register_the_next_one(server, host, press):
    """Not a token, which every service called by the Worker sees; not an API key. A private key is rejected as the next one."""
    token = (await host.token(server)).json()["access_token"]
    worker_id, api_key = press
    jwk = generate_identity_key().public.canonical_jwk
    private = generate_identity_key().jose_key.as_dict(private=True)

    by_token = await server.http.post(
        "/api/worker/identity-key", data={"next_key": jwk}, headers=bearer(token)
    )
    by_key = await server.http.post(
        "/api/worker/identity-key",
        data={"next_key": jwk, "client_id": worker_id, "client_secret": api_key},
    )
    assert (by_token.status_code, by_key.status_code) == (400, 400)
    for wrong in ("", "x", "[]", msgspec.json.encode(private).decode(), '{"kty":"oct"}'):
        form = {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": host.sign(server),
            "next_key": wrong,
        }
        answer = await server.http.post("/api/worker/identity-key", data=form)
        assert answer.status_code == 400, wrong


async def test_a_disabled_worker_cannot_rotate_its_key(server, admin, host):
    """Using the next key does not complete the rotation while it is disabled; it does afterwards."""
    new = generate_identity_key()
    assert (await register(server, host, new)).status_code == 200
    await server.http.patch(f"/api/workers/{host.worker_id}", json={"enabled": False}, headers=admin)
    old, host.key = host.key, new
    assert (await host.token(server)).status_code == 400
    assert (await shown(server, host.worker_id))["thumbprint"] == old.public.thumbprint

    await server.http.patch(f"/api/workers/{host.worker_id}", json={"enabled": True}, headers=admin)
    server.clock.forward(minutes=2)
    assert (await host.token(server)).status_code == 200


async def test_operators_can_ask_some_or_all_workers_to_rotate(server, admin, host, press, tmp_path):
    """Workers that were asked are listed until they have rotated; a Worker with an API key has nothing to rotate."""
    other = await IdentityDirectory.enroll(server, tmp_path / "other", name="other")

    async def listed(rotation):
        answer = await server.http.get(f"/api/workers?key_rotation={rotation}", headers=admin)
        return {worker["id"] for worker in answer.json()["items"]}

    async def ask(**body):
        return await server.http.post("/api/workers/rotate-keys", json=body, headers=admin)

    assert (await ask(ids=[host.worker_id])).json() == {"asked": 1, "ids": [host.worker_id]}
    assert await listed("asked") == {host.worker_id}
    assert await listed("never") == {other.worker_id}
    assert (await ask(all=True)).json()["asked"] == 2
    assert (await ask(ids=[press[0]])).json()["asked"] == 0
    assert (await ask(ids=["nowhere"])).status_code == 404
    assert {(await ask()).status_code, (await ask(all=True, ids=["x"])).status_code} == {422}

    await rotate(server, host)
    assert (await listed("asked"), await listed("done")) == ({other.worker_id}, {host.worker_id})


async def test_a_worker_gets_the_directive_to_rotate_once(server, admin, host):
    """At once if it is connected, otherwise with the second poll of its next session; once, so that an old client is not kept busy."""
    token = (await host.token(server)).json()["access_token"]

    async def poll(boot):
        body = {"boot_id": boot, "host": {}, "labels": "", "sign_off": False, "max_hold_s": 1.0}
        answer = await server.http.post("/api/worker/session", json=body, headers=bearer(token))
        return [directive["kind"] for directive in answer.json()["directives"]]

    assert await poll("boot-0001") == []
    await server.http.post("/api/workers/rotate-keys", json={"ids": [host.worker_id]}, headers=admin)
    assert await poll("boot-0001") == ["rotate_key"]
    assert await poll("boot-0001") == []
    body = {"boot_id": "boot-0001", "host": {}, "labels": "", "sign_off": True}
    await server.http.post("/api/worker/session", json=body, headers=bearer(token))
    assert await poll("boot-0002") == []
    assert await poll("boot-0002") == ["rotate_key"]
    await rotate(server, host)
    token = (await host.token(server)).json()["access_token"]
    assert await poll("boot-0002") == ["renew"]
    assert await poll("boot-0002") == []


async def test_a_client_that_replaces_its_key_directly_has_rotated(server, admin):
    """RFC 7592 needs no second step: the request to rotate is fulfilled."""
    registered, _ = await enrolled_by_secret(server)
    await server.http.post("/api/workers/rotate-keys", json={"ids": [registered["client_id"]]}, headers=admin)
    body = {
        "client_id": registered["client_id"],
        "client_name": "press",
        "jwks": {"keys": [generate_identity_key().public.as_dict()]},
    }
    await server.http.put(
        registered["registration_client_uri"],
        json=body,
        headers=bearer(registered["registration_access_token"]),
    )

    worker = await shown(server, registered["client_id"])
    assert (worker["key_rotation"], worker["key_rotation_asked_at"]) == ("done", None)


@pytest.mark.parametrize("authorization", ["Basic cHJlc3M6c2VjcmV0", "Bearer eyJhbGciOiJub25lIn0.e30."])
async def test_a_next_key_is_registered_only_by_an_assertion(server, host, authorization):
    """A request that authenticates in two ways is rejected (RFC 6749, section 2.3), and nothing is registered."""
    form = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": host.sign(server),
        "next_key": generate_identity_key().public.canonical_jwk,
    }

    answer = await server.http.post(
        "/api/worker/identity-key", data=form, headers={"Authorization": authorization}
    )

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert server.services.directory.find_next_key(host.worker_id) is None
