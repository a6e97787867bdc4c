"""Enrollment keys that operators issue: what each enrolls, and what it does not."""

import asyncio
import contextlib
import sqlite3
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.builders import ENROLLMENT_KEY, ISSUER, SECRET_KEY
from tests.unit.core.forge import hs256, parts

from lyftdata.core.encoding import decode_base64url
from lyftdata.core.enrollment import PROOF_TYPE, make_proof
from lyftdata.core.enrollment_secrets import (
    ProofKey,
    derive_proof_key,
    find_key_id,
    generate_enrollment_key,
    load_verifier,
)
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.secret import Secret
from lyftdata.server.admission import enrollment_credentials
from lyftdata.server.runtime.background import flush
from lyftdata.store.schema import metadata
from lyftdata.store.tables import enrollment_keys, workers

KEYS = "/api/enrollment/keys"


@pytest.fixture
async def off(opened):
    """Return a Server without an enrollment key in its settings."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(opened, request):
    """Return such a Server on SQLite and on PostgreSQL."""
    environ = {"LYFTDATA_AUTO_ENROLLMENT_KEY": ""}
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster").new_database()
        environ |= {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": SECRET_KEY}
    async with opened(**environ) as server:
        yield server


async def issue(server, name="etl-hosts", **rules):
    """Issue a key and return it."""
    answer = await server.http.post(KEYS, json={"name": name} | rules, headers=await server.sign_in())
    assert answer.status_code == 201, answer.text
    return answer.json()["key"]


async def shown(server, name="etl-hosts"):
    """Return what operators see of a key."""
    return (await server.http.get(f"{KEYS}/{name}", headers=await server.sign_in())).json()


async def enroll(server, secret, name="etl-1", *, identity=None, http=None, **metadata_):
    """Enroll with a proof of a secret."""
    identity = identity or generate_identity_key()
    body = {"client_name": name, "jwks": {"keys": [identity.public.as_dict()]}} | metadata_
    bearer = {"Authorization": f"Bearer {server.proof(identity, name, secret=secret)}"}
    return await (http or server.http).post("/oauth2/register", json=body, headers=bearer)


async def entry_of(server, answer):
    """Return the entry that an enrollment created."""
    worker_id = answer.json()["client_id"]
    found = await server.services.store.read(lambda conn: workers.find_workers(conn, [worker_id]))
    return found[worker_id]


async def test_no_key_enrolls_until_one_is_issued(off):
    """Auto-Enrollment is off by default; issuing a key admits only Workers with that key."""
    refused = await enroll(off, ENROLLMENT_KEY)
    assert await off.cause(refused) == "enrollment_disabled"
    key = await issue(off)

    answer = await enroll(off, key)

    assert answer.status_code == 201, answer.text
    entry = await entry_of(off, answer)
    view = await shown(off)
    assert entry.enrolled_with == view["fingerprint"]
    assert (view["status"], view["uses"], view["workers"], view["source"]) == ("live", 1, 1, "issued")
    assert view["last_used_at"] is not None
    assert await off.cause(await enroll(off, ENROLLMENT_KEY)) == "wrong_enrollment_key"
    status = (await off.http.get("/api/enrollment", headers=await off.sign_in())).json()
    assert (status["enabled"], status["keys"]) == (True, [])


@pytest.mark.parametrize("end", ["used_up", "expired", "revoked"])
async def test_without_a_key_in_force_auto_enrollment_is_off(off, end):
    """However the only key has ended: in the API and the status, and in the cause for which a wrong key is refused."""
    key = await issue(off, max_uses=2, expires_in_s=3_600)
    await enroll(off, key, "etl-1")

    async def is_on():
        headers = await off.sign_in()
        found = (await off.http.get("/api/enrollment", headers=headers)).json()["enabled"]
        assert (await off.http.get("/api/server", headers=headers)).json()["enrollment_enabled"] is found
        return found

    assert await is_on()
    match end:
        case "used_up":
            assert (await enroll(off, key, "etl-2")).status_code == 201
        case "expired":
            off.clock.forward(hours=1)
        case _:
            await off.http.post(f"{KEYS}/etl-hosts/revoke", headers=await off.sign_in())

    assert not await is_on()
    assert await off.cause(await enroll(off, ENROLLMENT_KEY, "etl-3")) == "enrollment_disabled"
    assert await off.cause(await enroll(off, key, "etl-3")) == f"enrollment_key_{end}"


async def test_a_use_that_is_given_back_keeps_auto_enrollment_on(opened):
    """If the last use of the only key was for a name that is taken."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="", LYFTDATA_WORKER_NAME_POLICY="reject") as server:
        first, second = await issue(server, max_uses=1), await issue(server, "press-hosts", max_uses=1)
        assert (await enroll(server, first, "etl-1")).status_code == 201

        assert await server.cause(await enroll(server, second, "etl-1")) == "name_in_use"

        assert server.services.enrollment.is_enabled()
        assert (await enroll(server, second, "etl-2")).status_code == 201
        assert not server.services.enrollment.is_enabled()


async def test_an_issued_key_and_the_one_in_the_settings_both_enroll(server):
    """Each entry has its key's fingerprint; `startup` is listed, and can be changed only in the settings."""
    key = await issue(server)
    by_setting = await entry_of(server, await server.register(generate_identity_key(), "press"))
    by_key = await entry_of(server, await enroll(server, key))
    headers = await server.sign_in()

    listed = (await server.http.get(KEYS, headers=headers)).json()["items"]

    assert [(item["name"], item["workers"]) for item in listed] == [("startup", 1), ("etl-hosts", 1)]
    assert [item["fingerprint"] for item in listed] == [by_setting.enrolled_with, by_key.enrolled_with]
    assert (await shown(server, "startup"))["source"] == "setting"
    for action in ("revoke", "rotate"):
        answer = await server.http.post(f"{KEYS}/startup/{action}", json={}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "enrollment_key_is_a_setting")
    for taken in ("startup", "etl-hosts"):
        assert (await server.http.post(KEYS, json={"name": taken}, headers=headers)).status_code in {409, 422}


async def test_the_key_itself_is_accepted_as_initial_access_token(off):
    """A client without our library sends it (RFC 7591); one that only looks similar is refused."""
    key = await issue(off)
    assert (await off.register(generate_identity_key(), "etl-1", credential=key)).status_code == 201

    for wrong in (key[:-1] + ("x" if key[-1] != "x" else "y"), key[:30] + "w" * 35):
        refused = await off.register(generate_identity_key(), "etl-2", credential=wrong)
        assert await off.cause(refused) == "wrong_enrollment_key"


async def test_every_refused_key_gets_the_same_answer_and_its_own_cause(off):
    """Revoked, expired, used up, wrong network, wrong name, unknown: only operators see which."""
    headers = await off.sign_in()
    keys = {
        "enrollment_key_revoked": await issue(off, "revoked-key"),
        "enrollment_key_expired": await issue(off, "expired-key", expires_in_s=60),
        "enrollment_key_used_up": await issue(off, "used-key", max_uses=1),
        "enrollment_network_not_allowed": await issue(off, "network-key", networks=["10.4.0.0/16"]),
        "enrollment_name_not_allowed": await issue(off, "name-key", worker_name="press-*"),
        "wrong_enrollment_key": ENROLLMENT_KEY,
    }
    assert (await enroll(off, keys["enrollment_key_used_up"], "etl-0")).status_code == 201
    await off.http.post(f"{KEYS}/revoked-key/revoke", headers=headers)
    off.clock.forward(seconds=60)

    answers = {code: await enroll(off, key) for code, key in keys.items()}

    assert {code: await off.cause(answer) for code, answer in answers.items()} == {
        code: code for code in keys
    }
    seen = {a.text.replace(a.json()["reference"], "REFERENCE") for a in answers.values()}
    assert len(seen) == 1
    assert {a.status_code for a in answers.values()} == {401}
    items = (await off.http.get(KEYS, headers=await off.sign_in())).json()["items"]
    states = {item["name"]: item["status"] for item in items}
    assert states == {
        "revoked-key": "revoked",
        "expired-key": "expired",
        "used-key": "used_up",
        "network-key": "live",
        "name-key": "live",
    }


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.4.1.2", None),
        ("::ffff:10.4.1.2", None),
        ("10.5.1.2", "enrollment_network_not_allowed"),
        ("::ffff:10.5.1.2", "enrollment_network_not_allowed"),
    ],
)
async def test_the_network_is_that_of_the_connection(off, address, code):
    """X-Forwarded-For from an unknown caller is ignored."""
    key = await issue(off, networks=["10.4.0.0/16"])
    async with off.from_address(address) as http:
        http.headers["X-Forwarded-For"] = "10.4.1.2"
        answer = await enroll(off, key, http=http)

    assert (None if answer.status_code == 201 else await off.cause(answer)) == code


async def test_labels_of_a_key_override_those_of_the_worker(off):
    """The operator's labels on the key are on every Worker that it enrolls; all others are self-reported."""
    key = await issue(off, labels={"team": "etl", "tier": "1"})

    answer = await enroll(off, key, labels={"team": "admins", "zone": "eu-1"})
    too_many = await enroll(off, key, "etl-2", labels={f"k{n}": "" for n in range(31)})

    assert (await entry_of(off, answer)).labels == {"team": "etl", "tier": "1", "zone": "eu-1"}
    assert (too_many.status_code, too_many.json()["error"]) == (400, "invalid_client_metadata")
    assert (await shown(off))["uses"] == 1


async def test_concurrent_enrollments_never_exceed_the_uses(either):
    """Checked and counted in one statement: ten requests, three uses, three entries."""
    key = await issue(either, max_uses=3)

    answers = await asyncio.gather(*(enroll(either, key, f"etl-{n}") for n in range(10)))

    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [401] * 7
    refused = [answer for answer in answers if answer.status_code == 401]
    assert {await either.cause(answer) for answer in refused} == {"enrollment_key_used_up"}
    assert (await shown(either))["uses"] == 3
    entries = await either.services.store.read(lambda conn: list(workers.all_workers(conn)))
    assert len(entries) == 3


async def test_a_retry_after_a_lost_answer_costs_no_use(off):
    """The same identity key gets the same ID, even if the enrollment key has no uses left."""
    key, identity = await issue(off, max_uses=1), generate_identity_key()
    first = await enroll(off, key, identity=identity)

    again = await enroll(off, key, identity=identity)

    assert (again.status_code, again.json()["client_id"]) == (201, first.json()["client_id"])
    assert (await shown(off))["uses"] == 1


async def test_an_enrolled_worker_with_another_key_keeps_its_entry(off):
    """Name and labels stay unchanged, and the other key loses no use."""
    identity = generate_identity_key()
    first = await enroll(off, await issue(off), identity=identity)
    other = await issue(off, "db-hosts", max_uses=1, labels={"team": "db"})

    again = await enroll(off, other, "etl-9", identity=identity)

    assert (again.status_code, again.json()["client_id"]) == (201, first.json()["client_id"])
    entry = await entry_of(off, again)
    assert (entry.name, entry.labels) == ("etl-1", {})
    assert (await shown(off, "db-hosts"))["uses"] == 0


async def test_a_taken_name_costs_no_use_and_a_used_up_key_reveals_none(opened):
    """The use is counted first and then given back, so a used-up key cannot be used to try names."""
    environ = {"LYFTDATA_AUTO_ENROLLMENT_KEY": "", "LYFTDATA_WORKER_NAME_POLICY": "reject"}
    async with opened(**environ) as server:
        key = await issue(server, max_uses=2)
        assert (await enroll(server, key)).status_code == 201
        taken = await enroll(server, key)
        assert (await shown(server))["uses"] == 1
        assert (await enroll(server, key, "etl-2")).status_code == 201

        used_up = await enroll(server, key)

        assert (taken.status_code, taken.json()["code"]) == (409, "name_in_use")
        assert await server.cause(used_up) == "enrollment_key_used_up"


async def test_a_refused_newcomer_supersedes_no_worker(off):
    """If its key is used up, the holder of the name keeps it."""
    key = await issue(off, max_uses=1)
    holder = await entry_of(off, await enroll(off, key))
    off.clock.forward(hours=1)

    refused = await enroll(off, key)

    assert await off.cause(refused) == "enrollment_key_used_up"
    found = await off.services.store.read(lambda conn: workers.find_workers(conn, [holder.id]))
    assert found[holder.id].superseded_by is None


async def test_a_key_revoked_during_a_request_enrolls_no_worker(off, monkeypatch):
    """The state in the transaction counts, not what was in memory when the request arrived."""
    key = await issue(off)
    enrollment = off.services.enrollment
    real = enrollment.check_credential
    record = off.services.directory.find_enrollment_key(find_key_id(key))

    def check_then_revoke(*args, **kwargs):
        proved = real(*args, **kwargs)
        # As if a peer had revoked it and the change feed had not arrived: only the database changes.
        file = off.services.settings.staging_dir / "lyftdata.db"
        with contextlib.closing(sqlite3.connect(file)) as raw, raw:
            raw.execute("UPDATE enrollment_keys SET revoked_at = created_at")
        return proved

    monkeypatch.setattr(enrollment, "check_credential", check_then_revoke)

    refused = await enroll(off, key)

    assert record.revoked_at is None
    assert await off.cause(refused) == "enrollment_key_revoked"


async def test_rotating_keeps_the_rules_and_ends_the_old_key(off):
    """Both enroll during the grace period; then the old one is refused. The new one starts with no uses."""
    headers = await off.sign_in()
    old = await issue(off, worker_name="etl-*", max_uses=5, expires_in_s=86_400)
    assert (await enroll(off, old)).status_code == 201
    answer = await off.http.post(f"{KEYS}/etl-hosts/rotate", json={"grace_s": 60}, headers=headers)
    new = answer.json()["key"]
    assert (await enroll(off, old, "etl-2")).status_code == 201
    assert (await enroll(off, new, "etl-3")).status_code == 201
    view = await shown(off)
    assert (view["generation"], view["uses"], view["workers"], len(view["previous"])) == (2, 1, 3, 1)
    assert view["fingerprints"] == [view["fingerprint"], view["previous"][0]["fingerprint"]]
    off.clock.forward(seconds=60)

    ended, other_name = await enroll(off, old, "etl-4"), await enroll(off, new, "press-1")

    assert await off.cause(ended) == "enrollment_key_expired"
    assert await off.cause(other_name) == "enrollment_name_not_allowed"
    assert (await enroll(off, new, "etl-5")).status_code == 201
    await off.http.post(f"{KEYS}/etl-hosts/revoke", headers=await off.sign_in())
    assert await off.cause(await enroll(off, new, "etl-6")) == "enrollment_key_revoked"
    assert (await shown(off))["fingerprints"] == view["fingerprints"], (
        "the Workers of a leaked key can be found"
    )
    again = await off.http.post(f"{KEYS}/etl-hosts/rotate", json={}, headers=await off.sign_in())
    assert (again.status_code, again.json()["code"]) == (409, "enrollment_key_revoked")


async def test_revoking_a_key_does_not_affect_enrolled_workers(off):
    """They have their own identity keys; the enrollment key was needed once."""
    key, identity = await issue(off), generate_identity_key()
    worker_id = (await enroll(off, key, identity=identity)).json()["client_id"]
    await off.http.post(f"{KEYS}/etl-hosts/revoke", headers=await off.sign_in())

    assert (await off.token_by_assertion(off.assertion(identity, worker_id))).status_code == 200


async def test_the_contents_of_the_database_enroll_no_worker(either):
    """No value of the row works as key, seed or HMAC secret; and the key itself is in no table."""
    key = await issue(either)
    assert (await enroll(either, key)).status_code == 201
    await flush(either.services)
    rows = await either.services.store.read(
        lambda conn: [row for table in metadata.sorted_tables for row in conn.execute(table.select())]
    )
    assert key[27:59] not in repr(rows)
    (record,) = await either.services.store.read(lambda conn: list(enrollment_keys.all_enrollment_keys(conn)))
    identity = generate_identity_key()
    claims = parts(either.proof(identity, "etl-2", secret=key))[1]
    header = {"alg": "HS256", "typ": PROOF_TYPE, "kid": record.public_id}
    kept = [decode_base64url(record.public_key), record.digest]
    forged = [
        *(hs256(header, claims, secret) for secret in (*kept, record.public_key.encode())),
        *(
            make_proof(
                ProofKey(
                    Ed25519PrivateKey.from_private_bytes(seed), key_id=record.public_id, audience=ISSUER
                ),
                worker_name="etl-2",
                thumbprint=identity.public.thumbprint,
                now=either.clock(),
                jti="forged",
            )
            for seed in kept
        ),
        record.public_key,
        record.digest.hex(),
        record.public_id,
        record.fingerprint,
    ]

    answers = [await either.register(identity, "etl-2", credential=credential) for credential in forged]

    assert {await either.cause(answer) for answer in answers} == {"wrong_enrollment_key"}


async def test_a_captured_proof_of_an_issued_key_is_refused(off):
    """Replayed, for another name, with another identity key, at another Server, or after it has expired."""
    key, identity = await issue(off), generate_identity_key()
    used, kept = off.proof(identity, "etl-1", secret=key), off.proof(identity, "etl-1", secret=key)
    elsewhere = off.proof(identity, "etl-1", secret=key, audience="https://other.example")
    assert (await off.register(identity, "etl-1", credential=used)).status_code == 201
    attempts = {
        "proof_replayed": off.register(identity, "etl-1", credential=used),
        "proof_not_for_key": off.register(generate_identity_key(), "etl-1", credential=kept),
        "malformed_proof": off.register(identity, "etl-1", credential=elsewhere),
    }
    assert {code: await off.cause(await attempt) for code, attempt in attempts.items()} == {
        code: code for code in attempts
    }
    other_name = await off.register(identity, "etl-2", credential=kept)
    assert await off.cause(other_name) == "proof_not_for_key"
    off.clock.forward(seconds=91)
    late = await off.register(identity, "etl-1", credential=kept)
    assert await off.cause(late) == "proof_expired"


async def test_decisions_are_in_the_audit_log_without_the_key(off):
    """Issuing with its rules, rotation, revocation, and which Worker enrolled with it."""
    key = await issue(off, max_uses=1, worker_name="etl-*", networks=["0.0.0.0/0"], labels={"team": "etl"})
    await enroll(off, key)
    headers = await off.sign_in()
    for action in ("rotate", "revoke", "revoke"):
        await off.http.post(f"{KEYS}/etl-hosts/{action}", json={}, headers=headers)

    events = (await off.http.get("/api/audit", headers=headers)).json()["items"]

    ours = [event for event in reversed(events) if "enroll" in event["action"]]
    assert [event["action"] for event in ours] == [
        "enrollment_key.issued",
        "worker.enrolled",
        "enrollment_key.rotated",
        "enrollment_key.revoked",
    ]
    assert ours[0]["details"] | {"public_id": ""} == {
        "public_id": "",
        "max_uses": "1",
        "worker_name": "etl-*",
        "networks": "0.0.0.0/0",
        "labels": "team=etl",
    }
    assert ours[1]["details"]["enrollment_key"] == "etl-hosts"
    assert key[27:] not in str(events)


async def test_the_key_is_in_one_answer_and_never_again(off):
    """No list and no view repeats it."""
    key = await issue(off)
    headers = await off.sign_in()
    texts = [(await off.http.get(path, headers=headers)).text for path in (KEYS, f"{KEYS}/etl-hosts")]

    assert all(key[27:] not in text for text in texts)
    assert key.startswith("lyftdata_enroll_")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "abc"),
        ("name", "startup"),
        ("expires_in_s", 0),
        ("expires_in_s", 3651 * 86_400),
        ("max_uses", 0),
        ("max_uses", 1_000_001),
        ("worker_name", ""),
        ("worker_name", "a\nb"),
        ("worker_name", ENROLLMENT_KEY),
        ("networks", ["10.4.7.9/16"]),
        ("networks", ["somewhere"]),
        ("networks", ["10.0.0.1"] * 33),
        ("labels", {"a b": "c"}),
        ("mode", "maybe"),
        ("approve_name", "etl-*"),
        ("approve_networks", ["10.4.0.0/16"]),
        ("ephemeral", "at times"),
    ],
)
async def test_an_invalid_rule_is_rejected(server, admin, field, value):
    """Nothing is issued, and unsupported values are not ignored."""
    answer = await server.http.post(KEYS, json={"name": "etl-hosts", field: value}, headers=admin)

    assert answer.status_code == 422, answer.text
    assert ENROLLMENT_KEY not in answer.text
    assert [k["name"] for k in (await server.http.get(KEYS, headers=admin)).json()["items"]] == ["startup"]


async def test_an_issued_key_survives_a_restart_and_a_new_public_url(opened):
    """Its public half does not depend on the Server's URL, and its uses are in the database."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="") as server:
        key = await issue(server, max_uses=2)
        assert (await enroll(server, key)).status_code == 201
        later = server.clock
    moved = {"LYFTDATA_AUTO_ENROLLMENT_KEY": "", "LYFTDATA_PUBLIC_URL": "https://new.example"}
    async with opened(later, **moved) as server:
        later.forward(seconds=timedelta(minutes=5).total_seconds())
        server.jti_from(100)
        server.http.base_url = "https://new.example"
        identity = generate_identity_key()

        def proof(name):
            return server.proof(identity, name, secret=key, audience="https://new.example")

        body = {"client_name": "etl-2", "jwks": {"keys": [identity.public.as_dict()]}}
        bearer = {"Authorization": f"Bearer {proof('etl-2')}"}
        answer = await server.http.post("/oauth2/register", json=body, headers=bearer)
        assert answer.status_code == 201, answer.text
        refused = await server.register(generate_identity_key(), "etl-3", credential=key)
        assert await server.cause(refused) == "enrollment_key_used_up"


@pytest.mark.parametrize("kid", ["its own", None, "AAAAAAAAAA"])
async def test_an_issued_key_in_the_settings_keeps_its_rules(opened, kid):
    """Whether the proof has its `kid`, none or another: a revoked key stays revoked."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="") as server:
        key, later = await issue(server), server.clock
        await server.http.post(f"{KEYS}/etl-hosts/revoke", headers=await server.sign_in())
    async with opened(later, LYFTDATA_AUTO_ENROLLMENT_KEY=key) as server:
        identity = generate_identity_key()
        signing = derive_proof_key(Secret(key), audience=ISSUER)
        signing.key_id = find_key_id(key) if kid == "its own" else kid
        claims = {"worker_name": "etl-1", "thumbprint": identity.public.thumbprint, "now": later()}

        refused = await server.register(
            identity, "etl-1", credential=make_proof(signing, **claims, jti="without")
        )

        assert refused.status_code == 401, refused.text
        assert await server.cause(refused) == "enrollment_key_revoked"


async def test_an_unknown_key_costs_as_much_as_a_known_one(off, monkeypatch):
    """A public key is loaded for either; otherwise the response time would reveal which public IDs exist."""
    real, wrong = await issue(off), generate_enrollment_key(lambda size: bytes(range(size))).reveal()
    loaded = []

    def load(**kept):
        loaded.append(kept)
        return load_verifier(**kept)

    monkeypatch.setattr(enrollment_credentials, "load_verifier", load)
    costs = []
    for key_id in (find_key_id(real), find_key_id(wrong)):
        loaded.clear()
        identity = generate_identity_key()
        signing = derive_proof_key(Secret(wrong), audience=ISSUER)
        signing.key_id = key_id
        claims = {"worker_name": "etl-1", "thumbprint": identity.public.thumbprint, "now": off.clock()}
        refused = await off.register(
            identity, "etl-1", credential=make_proof(signing, **claims, jti=f"jti-{key_id}")
        )
        assert await off.cause(refused) == "wrong_enrollment_key"
        costs.append(len(loaded))

    assert costs == [1, 1]


@pytest.mark.parametrize(
    "rules",
    [{}, {"expires_in_s": 1}, {"networks": ["10.4.0.0/16"]}, {"worker_name": "press-*"}, {"max_uses": 1}],
)
async def test_an_invalid_body_gets_one_answer_whatever_the_key_allows(off, rules):
    """So someone who found a key cannot learn from invalid requests whether or where it works."""
    key = await issue(off, **rules)
    off.clock.forward(seconds=2)

    answer = await off.http.post("/oauth2/register", json={}, headers={"Authorization": f"Bearer {key}"})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


async def test_a_refused_key_is_recorded_with_the_requested_name(off):
    """Also if the key itself was sent: operators search refusals by Worker."""
    key = await issue(off, networks=["10.4.0.0/16"])

    refused = await off.register(generate_identity_key(), "etl-7", credential=key)

    headers = await off.sign_in()
    found = await off.http.get(f"/api/refusals/{refused.json()['reference']}", headers=headers)
    assert (found.json()["code"], found.json()["claimed_worker"]) == (
        "enrollment_network_not_allowed",
        "etl-7",
    )
