"""The admin API: who may do what, and that what is done is kept, told and audited."""

import asyncio
import json
import threading
from datetime import timedelta

import pytest
from tests.builders import ISSUER, FakeClock
from tests.deployment import PASSWORD

from lyftdata.server.api.admin.app import admin_app

OPERATIONS = [
    (method.upper(), f"/api{path}")
    for path, methods in admin_app().openapi()["paths"].items()
    for method in methods
]
BODIES = {
    ("POST", "/api/workers"): {"name": "w"},
    ("PATCH", "/api/workers/{worker_id}"): {"enabled": False},
    ("POST", "/api/api-keys"): {"name": "some-key"},
    ("POST", "/api/api-keys/{name}/rotate"): {},
    ("POST", "/api/api-keys/{name}/allow"): {"worker_ids": ["w"]},
    ("POST", "/api/enrollment/keys"): {"name": "some-key"},
    ("POST", "/api/enrollment/keys/{name}/rotate"): {},
    ("POST", "/api/resources"): {"name": "broker", "audience": "https://broker.example"},
    ("PATCH", "/api/resources/{name}"): {"scopes": []},
    ("POST", "/api/operators"): {"name": "eve", "role": "admin"},
    ("PATCH", "/api/operators/{name}"): {"role": "admin"},
}
FOR_ADMINS = set(BODIES) | {
    ("DELETE", "/api/workers/{worker_id}"),
    ("POST", "/api/api-keys/{name}/revoke"),
    ("POST", "/api/enrollment/keys/{name}/revoke"),
    ("DELETE", "/api/resources/{name}"),
    ("POST", "/api/resources/{name}/key"),
    ("DELETE", "/api/operators/{name}"),
}


async def viewer_of(server, admin):
    """Add a viewer and return the headers of their session."""
    body = {"name": "vera", "role": "viewer", "password": "another long one"}
    assert (await server.http.post("/api/operators", json=body, headers=admin)).status_code == 201
    return await server.sign_in("vera", "another long one")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic YTpi"}])
async def test_nothing_without_a_session(server, headers, subtests):
    """Every operation but signing in answers 401 to a stranger, before it looks at anything else."""
    for method, path in OPERATIONS:
        if path == "/api/login":
            continue

        answer = await server.http.request(method, path, headers=headers)

        with subtests.test(f"{method} {path}"):
            assert answer.status_code == 401
            assert answer.json()["code"] == "not_signed_in"
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), sorted(FOR_ADMINS))
async def test_a_viewer_changes_nothing(server, admin, method, path):
    """Every operation that changes something of others' answers 403 to a viewer."""
    viewer = await viewer_of(server, admin)

    answer = await server.http.request(method, path, json=BODIES.get((method, path)), headers=viewer)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_viewer_sees_all(server, admin, press):
    """Every list is readable to a viewer."""
    viewer = await viewer_of(server, admin)
    for path in (
        "workers",
        "workers/press-01",
        "api-keys",
        "enrollment",
        "refusals",
        "audit",
        "audit/verify",
        "attention",
        "resources",
        "history",
        "operators",
        "server",
        "whoami",
    ):
        assert (await server.http.get(f"/api/{path}", headers=viewer)).status_code == 200, path


async def test_a_worker_token_is_no_operators_session(server, press):
    """What a Worker holds opens nothing of the admin API."""
    token = (await server.token_by_key(*press)).json()["access_token"]

    answer = await server.http.get("/api/workers", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401


async def test_an_operators_session_is_no_worker_token(server, admin):
    """What an operator holds does not pass as a Worker."""
    assert (await server.http.get("/auth/verify", headers=admin)).status_code == 401


# --- signing in ------------------------------------------------------------------------------------------


async def test_the_first_password_must_be_changed(server, admin):
    """The session says so; changing it ends other sessions and keeps this one."""
    other = await server.sign_in()
    assert (await server.http.get("/api/whoami", headers=admin)).json()["must_change_password"]
    body = {"current_password": PASSWORD, "new_password": "a much better one"}

    assert (await server.http.post("/api/me/password", json=body, headers=admin)).status_code == 204

    assert not (await server.http.get("/api/whoami", headers=admin)).json()["must_change_password"]
    assert (await server.http.get("/api/whoami", headers=other)).status_code == 401
    assert await server.sign_in(password="a much better one")


@pytest.mark.parametrize(
    ("current", "new", "status"),
    [
        ("wrong wrong wrong", "a much better one", 401),
        (PASSWORD, "short", 422),
        (PASSWORD, PASSWORD, 422),
        (PASSWORD, f"{PASSWORD} ", 422),
        (PASSWORD, f" {PASSWORD}", 422),
        (PASSWORD, PASSWORD.replace(" ", ""), 422),
        (PASSWORD, PASSWORD.replace(" ", "  "), 422),
        (PASSWORD, PASSWORD.upper(), 422),
        (PASSWORD, f"{PASSWORD}1!", 422),
        (PASSWORD, f"1{PASSWORD}", 422),
        (PASSWORD, PASSWORD.replace("horse", "house"), 422),
        (PASSWORD, PASSWORD[:-2], 422),
        (PASSWORD, f"{PASSWORD}123", 204),
        (PASSWORD, PASSWORD.replace("horse", "zebra"), 204),
        (PASSWORD, "adminadminadmin", 422),
    ],
)
async def test_passwords_that_are_not_taken(server, admin, current, new, status):
    """A wrong current password, a short new one, as good as the same one, the operator's name: refused, and not repeated."""
    body = {"current_password": current, "new_password": new}
    checked = await server.http.post("/api/me/password/check", json=body, headers=admin)
    answer = await server.http.post("/api/me/password", json=body, headers=admin)

    assert (checked.status_code, checked.content) == (answer.status_code, answer.content)
    assert answer.status_code == status
    assert new not in answer.text
    assert current not in answer.text


async def test_a_password_that_is_only_checked_stays(server, admin):
    """The current password is checked with or without a new one; neither the password nor a session ends; without a session it is 401."""
    for body in (
        {"current_password": PASSWORD},
        {"current_password": PASSWORD, "new_password": "a much better one"},
    ):
        assert (await server.http.post("/api/me/password/check", json=body, headers=admin)).status_code == 204
        assert (await server.http.post("/api/me/password/check", json=body)).status_code == 401
    wrong = {"current_password": "wrong wrong wrong"}
    answer = await server.http.post("/api/me/password/check", json=wrong, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (401, "login_failed")
    assert (await server.http.get("/api/whoami", headers=admin)).json()["must_change_password"]
    assert await server.sign_in()


async def test_wrong_name_and_wrong_password_read_the_same(server):
    """Nobody learns which operators there are."""
    answers = [
        await server.http.post("/api/login", json={"username": name, "password": "wrong wrong wrong"})
        for name in ("admin", "nobody")
    ]

    assert {a.status_code for a in answers} == {401}
    assert len({a.text for a in answers}) == 1


async def test_lockout_and_its_end(server):
    """Five failures lock name and address for a minute, then longer; the right password does not help meanwhile."""
    wrong = {"username": "admin", "password": "wrong wrong wrong"}
    for _ in range(5):
        await server.http.post("/api/login", json=wrong)
    locked = await server.http.post("/api/login", json={"username": "admin", "password": PASSWORD})

    assert (locked.status_code, locked.json()["code"]) == (429, "login_locked")
    assert 1 <= int(locked.headers["retry-after"]) <= 60
    async with server.from_address("192.0.2.9") as elsewhere:
        fine = await elsewhere.post("/api/login", json={"username": "admin", "password": PASSWORD})
        assert fine.status_code == 200
    server.clock.forward(seconds=61)
    await server.http.post("/api/login", json=wrong)
    server.clock.forward(seconds=61)
    assert (await server.http.post("/api/login", json=wrong)).status_code == 429
    server.clock.forward(seconds=60)
    admin = await server.sign_in()
    actions = [e["action"] for e in (await server.http.get("/api/audit", headers=admin)).json()["items"]]
    assert "operator.locked_out" in actions


async def test_a_session_ends_after_twelve_hours(server, admin):
    """A session is refused from the very second of its end."""
    server.clock.forward(hours=12, seconds=-1)
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 200
    server.clock.forward(seconds=1)
    assert (await server.http.get("/api/whoami", headers=admin)).status_code == 401


async def test_sessions_are_listed_and_ended(server, admin):
    """An admin sees and ends everybody's; a viewer their own."""
    viewer = await viewer_of(server, admin)
    everybodys = (await server.http.get("/api/admin-sessions", headers=admin)).json()["items"]
    own = (await server.http.get("/api/admin-sessions", headers=viewer)).json()["items"]
    assert {s["operator"] for s in everybodys} == {"admin", "vera"}
    assert {s["operator"] for s in own} == {"vera"}
    (admins,) = [s["id"] for s in everybodys if s["operator"] == "admin"]

    assert (await server.http.delete(f"/api/admin-sessions/{admins}", headers=viewer)).status_code == 404
    assert (await server.http.delete(f"/api/admin-sessions/{own[0]['id']}", headers=admin)).status_code == 204
    assert (await server.http.get("/api/whoami", headers=viewer)).status_code == 401


async def test_logout_and_logout_everywhere(server):
    """Signing out ends this session; everywhere ends them all."""
    first, second, third = [await server.sign_in() for _ in range(3)]
    await server.http.post("/api/logout", headers=first)
    assert [(await server.http.get("/api/whoami", headers=h)).status_code for h in (first, second)] == [
        401,
        200,
    ]
    await server.http.post("/api/logout-everywhere", headers=second)
    assert (await server.http.get("/api/whoami", headers=third)).status_code == 401


async def test_a_role_taken_away_counts_at_once(server, admin):
    """An admin made a viewer cannot change anything with the session they have."""
    body = {"name": "ada", "role": "admin", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    ada = await server.sign_in("ada", "another long one")
    assert (await server.http.post("/api/workers", json={"name": "w-1"}, headers=ada)).status_code == 201

    await server.http.patch("/api/operators/ada", json={"role": "viewer"}, headers=admin)

    assert (await server.http.post("/api/workers", json={"name": "w-2"}, headers=ada)).status_code == 403


async def test_the_last_admin_stays(server, admin):
    """Nobody can lock everybody out."""
    for method, body in (("PATCH", {"role": "viewer"}), ("DELETE", None)):
        answer = await server.http.request(method, "/api/operators/admin", json=body, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")


async def test_a_new_operators_password_is_shown_once_and_resets_end_sessions(server, admin):
    """Without a password one is made; a reset makes another and ends the old sessions."""
    made = (
        await server.http.post("/api/operators", json={"name": "ada", "role": "viewer"}, headers=admin)
    ).json()
    ada = await server.sign_in("ada", made["password"])

    reset = await server.http.patch("/api/operators/ada", json={"reset_password": True}, headers=admin)

    assert (await server.http.get("/api/whoami", headers=ada)).status_code == 401
    assert await server.sign_in("ada", reset.json()["password"])
    assert "password" not in json.dumps(
        (await server.http.get("/api/operators", headers=admin)).json()
    ).replace("must_change_password", "")


# --- Workers and keys ------------------------------------------------------------------------------------


async def test_a_worker_as_the_contract_lists_it(server, admin, press):
    """The keys of a listed Worker, and an ID that is made when none is chosen."""
    generated = (await server.http.post("/api/workers", json={"name": "made"}, headers=admin)).json()[
        "worker"
    ]["id"]
    listed = (await server.http.get("/api/workers", headers=admin)).json()

    assert {
        "id",
        "name",
        "strategy",
        "enabled",
        "status",
        "labels",
        "last_seen_at",
        "address",
        "enrolled_with",
        "api_key",
    } <= set(listed["items"][0])
    assert listed["total"] == 2
    assert generated.startswith("w-")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": ""}, 422, "invalid_input"),
        ({"name": "x" * 65}, 422, "invalid_input"),
        ({"name": "a\nb"}, 422, "invalid_input"),
        ({"name": 5}, 422, "invalid_input"),
        ({}, 422, "invalid_input"),
        ({"name": "w", "id": "-x"}, 422, "invalid_input"),
        ({"name": "w", "id": "a/b"}, 422, "invalid_input"),
        ({"name": "w", "labels": {"a b": ""}}, 422, "invalid_input"),
        ({"name": "w", "labels": {"a": 1}}, 422, "invalid_input"),
        ({"name": "w", "nmae": "typo"}, 422, "invalid_input"),
        ({"name": "press-01"}, 409, "worker_name_taken"),
        ({"name": "w", "id": "press-01"}, 409, "worker_id_taken"),
    ],
)
async def test_bad_workers_are_refused_with_the_field(server, admin, press, body, status, code):
    """Each fault is named, and nothing is half done: not even its key is issued."""
    answer = await server.http.post("/api/workers", json=body | {"issue_key": True}, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await server.http.get("/api/workers", headers=admin)).json()["total"] == 1
    assert len((await server.http.get("/api/api-keys", headers=admin)).json()["items"]) == 1


async def test_a_key_is_shown_once(server, admin):
    """The key is in the answer that made it and in no other."""
    answer = await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)
    secret = answer.json()["key"][20:52]

    for path in ("api-keys", "api-keys/press-keys", "audit", "audit/export"):
        assert secret not in (await server.http.get(f"/api/{path}", headers=admin)).text


async def test_bad_keys_are_refused(server, admin, press):
    """A bad name, an unknown or enrolled Worker, a life of nothing: refused with the reason."""
    enrolled, _ = await server.enrolled()
    for body, code in (
        ({"name": "abcd"}, "invalid_input"),
        ({"name": "some-key", "worker_ids": []}, "invalid_input"),
        ({"name": "some-key", "worker_ids": ["nobody"]}, "worker_not_found"),
        ({"name": "some-key", "worker_ids": [enrolled]}, "wrong_strategy"),
        ({"name": "some-key", "expires_in_s": 0}, "invalid_input"),
        ({"name": "some-key", "expires_in_s": -5}, "invalid_input"),
        ({"name": "some-key", "expires_in_s": 10**12}, "invalid_input"),
    ):
        answer = await server.http.post("/api/api-keys", json=body, headers=admin)
        assert answer.json()["code"] == code, body
    for path, method in (("nokey", "GET"), ("nokey/revoke", "POST"), ("nokey/rotate", "POST")):
        answer = await server.http.request(method, f"/api/api-keys/{path}", json={}, headers=admin)
        assert answer.json()["code"] == "api_key_not_found"


async def test_a_revoked_key_is_not_rotated_and_revoking_twice_changes_nothing(server, admin):
    """What was revoked stays so."""
    await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)
    first = await server.http.post("/api/api-keys/press-keys/revoke", headers=admin)
    server.clock.forward(seconds=5)
    second = await server.http.post("/api/api-keys/press-keys/revoke", headers=admin)
    rotated = await server.http.post("/api/api-keys/press-keys/rotate", json={}, headers=admin)

    assert first.json()["revoked_at"] == second.json()["revoked_at"]
    assert (rotated.status_code, rotated.json()["code"]) == (409, "api_key_revoked")


async def test_last_use_shows_by_whom(server, admin, press):
    """Before it is written and after: who used a key last."""
    await server.token_by_key(*press)
    for _ in range(2):
        (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
        assert (key["last_used_by"], key["last_used_at"]) == ("press-01", "2026-03-01T12:00:00Z")
        await server.services.traces.flush()


async def test_what_operators_do_is_audited_and_the_chain_is_whole(server, admin, press):
    """Each change has its event, with actor and address; verification finds the chain whole."""
    await server.http.patch(
        "/api/workers/press-01", json={"enabled": False, "name": "x", "labels": {"a": "1"}}, headers=admin
    )
    await server.http.delete("/api/workers/press-01", headers=admin)
    events = (
        await server.http.get("/api/audit", headers=admin, params={"subject": "worker:press-01"})
    ).json()["items"]

    assert [e["action"] for e in events] == [
        "worker.deleted",
        "worker.disabled",
        "worker.labelled",
        "worker.renamed",
        "worker.created",
    ]
    assert {(e["actor"], e["address"]) for e in events} == {("operator:admin", "127.0.0.1")}
    assert (await server.http.get("/api/audit/verify", headers=admin)).json()["ok"]
    exported = [
        json.loads(line)
        for line in (await server.http.get("/api/audit/export", headers=admin)).text.splitlines()
    ]
    assert [e["number"] for e in exported] == list(range(1, len(exported) + 1))


async def test_the_server_about_itself(server, admin):
    """Version, issuer and warnings are there for operators."""
    status = (await server.http.get("/api/server", headers=admin)).json()

    assert (status["issuer"], status["enrollment_enabled"], status["warnings"]) == (ISSUER, True, [])


async def test_the_last_use_of_an_enrollment_key_outlives_the_server(opened):
    """Shown at once and after a restart; a previous key that is proved in vain was used, too."""
    previous = "Qm4zTn8wXe1sBv6kYr3jDh7gLc9pFa2U"
    both = {"LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": previous}

    async def times(server):
        answer = await server.http.get("/api/enrollment", headers=await server.sign_in())
        return {key["role"]: key["last_used_at"] for key in answer.json()["keys"]}

    clock = FakeClock()
    async with opened(clock, **both) as server:
        assert await times(server) == {"current": None, "previous": None}
        worker_id, key = await server.enrolled("press-01")
        clock.forward(hours=1)
        proof = server.proof(key, "press-02", secret=previous)
        refused = await server.register(key, "press-03", credential=proof)
        assert refused.status_code == 401, worker_id
        expected = {"current": "2026-03-01T12:00:00Z", "previous": "2026-03-01T13:00:00Z"}
        assert await times(server) == expected
    async with opened(clock, **both) as server:
        assert await times(server) == expected


async def test_a_weak_enrollment_key_is_shown_as_such(opened):
    """The published example starts, with a warning where operators look; the secret itself is nowhere."""
    example = "c3s3R0s1T5QAQr7lz1KsT00pKh3adnma"
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY=example) as server:
        admin = await server.sign_in()
        status = (await server.http.get("/api/enrollment", headers=admin)).text
        assert "published" in status
        assert "published" in (await server.http.get("/api/server", headers=admin)).text
        assert example not in status


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_without_end_is_not_read(server, told):
    """Before anybody is asked who they are, more than 64 KiB is refused, whether its length was told or not."""

    async def chunks():
        for _ in range(80):
            yield b"x" * 1024

    answer = await server.http.post(
        "/api/login",
        content=b"x" * 80_000 if told else chunks(),
        headers={"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_strangers_do_not_lock_an_operator_out(server):
    """From an address that has signed in before, an operator gets in whatever others try elsewhere."""
    await server.sign_in()
    for n in range(60):
        async with server.from_address(f"198.51.100.{n}") as stranger:
            await stranger.post("/api/login", json={"username": "admin", "password": "wrong wrong wrong"})
    async with server.from_address("203.0.113.5") as new_place:
        refused = await new_place.post("/api/login", json={"username": "admin", "password": PASSWORD})

    assert refused.json()["code"] == "login_locked"
    assert await server.sign_in()


async def test_guessing_names_from_one_place_is_slowed_down(server):
    """Thirty failures from one address, whatever the names, and it waits."""
    async with server.from_address("198.51.100.7") as stranger:
        codes = [
            (
                await stranger.post("/api/login", json={"username": f"u{n}", "password": "wrong wrong wrong"})
            ).json()["code"]
            for n in range(40)
        ]

    assert codes[:30] == ["login_failed"] * 30
    assert codes[30:] == ["login_locked"] * 10


async def test_a_flood_of_sign_ins_does_not_queue_for_ever(server, monkeypatch):
    """More than a few dozen at once are told to come back: hashing is dear, and Workers need the processor too."""
    await server.sign_in()
    hold = threading.Event()
    monkeypatch.setattr(
        server.services.password_check._passwords, "_verify", lambda *_: hold.wait(180) and False
    )
    flood = [
        asyncio.create_task(server.http.post("/api/login", json={"username": f"u{n}", "password": "x" * 12}))
        for n in range(60)
    ]
    first, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status_code for task in first} <= {429, 503}
    hold.set()
    answers = await asyncio.gather(*flood)
    monkeypatch.undo()

    codes = [a.json()["code"] for a in answers]
    assert "too_busy" in codes
    busy = next(a for a in answers if a.json()["code"] == "too_busy")
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
    assert await server.sign_in()


async def test_an_unknown_path_and_method_are_problems(server, admin):
    """Errors of the framework read like ours."""
    assert (await server.http.get("/api/nothing", headers=admin)).json()["code"] == "not_found"
    assert (await server.http.put("/api/workers", headers=admin)).json()["code"] == "method_not_allowed"


async def test_an_unexpected_failure_tells_nothing(server, admin, monkeypatch):
    """A bug answers 500 with no detail of it."""

    async def broken(*_args, **_kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.services.operators, "list", broken)
    answer = await server.http.get("/api/operators", headers=admin)

    assert answer.status_code == 500
    assert "secret detail" not in answer.text


async def test_sign_in_while_the_password_is_reset_opens_nothing(server, admin, monkeypatch):
    """A password that is replaced while it is being checked opens no session."""
    operators = server.services.operators
    await server.http.post(
        "/api/operators",
        json={"name": "ada", "role": "viewer", "password": "another long one"},
        headers=admin,
    )
    real = operators._passwords.matches

    async def slow(password, password_hash, **more):
        right = await real(password, password_hash, **more)
        monkeypatch.setattr(operators._passwords, "matches", real)
        await server.http.patch("/api/operators/ada", json={"reset_password": True}, headers=admin)
        return right

    monkeypatch.setattr(operators._passwords, "matches", slow)
    answer = await server.http.post("/api/login", json={"username": "ada", "password": "another long one"})

    assert answer.status_code == 401


async def test_signing_keys_rotate_with_overlap(opened):
    """A month on the next key is published before it signs; tokens of the last one are good until they end."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
        services = server.services

        async def token():
            return (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]

        async def kids():
            await services.signing_keys.refresh()
            return [jwk["kid"] for jwk in (await server.http.get("/.well-known/jwks.json")).json()["keys"]]

        (first,) = await kids()
        server.clock.forward(days=29)
        assert len(await kids()) == 2
        assert services.signing_keys.signer.kid == first
        server.clock.forward(hours=24)
        last = await token()
        await kids()
        assert services.signing_keys.signer.kid != first
        assert (await server.verify(last)).status_code == 204
        server.clock.forward(days=2)
        assert first not in await kids()


async def test_a_server_without_its_secret_key_does_not_start(opened, tmp_path):
    """Without the key that encrypted them, the signing keys are not replaced silently: the Server says what is missing."""
    from lyftdata.core.keyring import KeyDecryptionError

    async with opened():
        pass
    (tmp_path / "staging" / "secret.key").unlink()

    with pytest.raises(KeyDecryptionError):
        async with opened():
            pass


async def test_the_clock_is_not_needed_to_be_monotonic(server, press):
    """A clock set back neither crashes nor opens anything."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    server.clock.now -= timedelta(days=1)

    assert (await server.token_by_key(*press)).status_code == 200
    assert (await server.verify(token)).status_code == 204


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/login", b'{"username": "\\ud800", "password": "\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800"}'),
        ("/api/login", b'{"username": "\\u0000", "password": "\\u0000"}'),
        ("/api/login", b"[" * 30_000),
        ("/api/login", b'{"username": ' + b'{"a":' * 10_000),
        ("/api/workers", b'{"name": "\\ud800"}'),
        ("/api/workers", b'{"name": "w", "labels": {"\\ud800": "\\udfff"}}'),
        ("/api/workers", b'{"name": "w", "id": null, "labels": null}'),
        ("/api/api-keys", b'{"name": "\\u0000\\u0000\\u0000\\u0000\\u0000"}'),
        ("/api/api-keys", b'{"name": "some-key", "expires_in_s": 1e308}'),
        ("/api/operators", b'{"name": "\\ud800", "role": "admin"}'),
        (
            "/api/operators",
            b'{"name": "ada", "role": "admin", "password": "\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800"}',
        ),
        ("/api/me/password", b'{"current_password": "\\ud800", "new_password": "\\ud800"}'),
    ],
)
async def test_no_body_makes_the_server_fail(server, admin, path, body):
    """Lone surrogates, null characters, endless nesting, numbers out of reach: refused, never a 5xx."""
    answer = await server.http.post(path, content=body, headers=admin | {"Content-Type": "application/json"})

    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    ["q=%00", "q=%ff", "label=%00%3D", "after=%00", "limit=99999999999999999999", "limit=-1", "status=x"],
)
async def test_no_query_makes_the_server_fail(server, admin, query):
    """Odd bytes and numbers in a query are an empty list or a clear refusal."""
    assert (await server.http.get(f"/api/workers?{query}", headers=admin)).status_code in {200, 422}


@pytest.mark.parametrize("part", ["%00", "%ff", "..%2f..", "a" * 5000, "%0d%0aX: y"])
async def test_no_path_makes_the_server_fail(server, admin, part):
    """Odd IDs, names and references are not found, and nothing else."""
    for path in ("workers", "api-keys", "refusals"):
        assert (await server.http.get(f"/api/{path}/{part}", headers=admin)).status_code in {400, 404}


async def test_a_log_that_was_cut_is_told_at_the_start(opened, tmp_path):
    """Anyone who removes the record of the last event while the Server is down is found out at its next start."""
    import sqlite3

    async with opened():
        pass
    raw = sqlite3.connect(tmp_path / "staging" / "lyftdata.db")
    with raw:
        raw.execute("DELETE FROM audit_head")
    raw.close()

    async with opened() as server:
        admin = await server.sign_in()
        warnings = (await server.http.get("/api/server", headers=admin)).json()["warnings"]
        assert any("audit verify" in warning for warning in warnings)
        assert not (await server.http.get("/api/audit/verify", headers=admin)).json()["ok"]


async def test_a_reset_is_not_undone_by_a_change_under_way(server, admin, monkeypatch):
    """Somebody who knows the old password and is changing it just then does not keep the account."""
    body = {"name": "ada", "role": "viewer", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    ada = await server.sign_in("ada", "another long one")
    passwords = server.services.password_check._passwords
    real = passwords.hash
    reset = {}

    async def slow(password):
        monkeypatch.setattr(passwords, "hash", real)
        answer = await server.http.patch("/api/operators/ada", json={"reset_password": True}, headers=admin)
        reset["password"] = answer.json()["password"]
        return await real(password)

    monkeypatch.setattr(passwords, "hash", slow)
    change = {"current_password": "another long one", "new_password": "the attackers own"}
    answer = await server.http.post("/api/me/password", json=change, headers=ada)

    assert answer.status_code == 401
    assert await server.sign_in("ada", reset["password"])
