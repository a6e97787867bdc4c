"""RabbitMQ's HTTP authorization: who may ask, who may log in, what a Worker may do, and which connections must be closed."""

import base64
import json

import pytest
from tests.behaviour.one_server.test_revocation import TAKEN_BACK
from tests.oauth_requests import define, dpop

from lyftdata.core.identity_keys import generate_identity_key

SCOPES = ["rabbitmq.read:jobs/celery", "rabbitmq.write:jobs/celery", "write:jobs/events/press.*"]
ASKED = ("user", "vhost", "resource", "topic")
OPERATION = {"vhost": "jobs", "resource": "queue", "name": "celery", "permission": "read"}
TOPIC = {
    "vhost": "jobs",
    "resource": "topic",
    "name": "events",
    "permission": "write",
    "routing_key": "press.1",
}


class Broker:
    """A RabbitMQ broker, as the Server sees it."""

    def __init__(self, server, key, name="rabbitmq"):
        self._server = server
        self.key = key
        self.headers = {"Authorization": "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()}

    async def post(self, endpoint, /, **form):
        return await self._server.http.post(f"/auth/rabbitmq/{endpoint}", data=form, headers=self.headers)

    async def ask(self, endpoint, /, **form):
        answer = await self.post(endpoint, **form)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.text

    async def login(self, worker_id, token):
        return await self.ask("user", username=worker_id, password=token)

    async def may(self, worker_id):
        """Return the answer of three of the endpoints; they agree if only the Worker's own state matters."""
        answers = {
            await self.ask("vhost", username=worker_id, vhost="jobs", ip="127.0.0.1", tags=""),
            await self.ask("resource", username=worker_id, tags="", **OPERATION),
            await self.ask("topic", username=worker_id, **TOPIC),
        }
        assert len(answers) == 1
        return answers.pop()

    async def close(self, *connections):
        """Return the indexes of the connections that must be closed, each given as user name and age in seconds."""
        reported = [{"username": name, "vhost": "jobs", "age_s": age_s} for name, age_s in connections]
        answer = await self._server.http.post(
            "/auth/rabbitmq/connections", json={"connections": reported}, headers=self.headers
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["close"]


@pytest.fixture
async def broker(server, admin):
    """Return a broker whose resource is granted to every Worker."""
    await define(server, admin, "rabbitmq", "rabbitmq", scopes=SCOPES, for_all_workers=True)
    answer = await server.http.post("/api/resources/rabbitmq/key", headers=admin)
    return Broker(server, answer.json()["key"])


async def token_of(server, press, **form):
    """Return a token for the broker."""
    return (await server.token_by_key(*press, **({"resource": "rabbitmq"} | form))).json()["access_token"]


async def last_cause(server, admin):
    """Return the code of the latest refusal and the Worker that it names."""
    await server.services.refusals.flush()
    answer = await server.http.get("/api/refusals", headers=admin)
    group = answer.json()["items"][0]
    return group["code"], group["claimed_worker"]


# --- who may ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [*ASKED, "connections"])
async def test_an_unproven_caller_learns_nothing(server, admin, press, broker, endpoint):
    """Without a resource's key the answer is the same 401, whichever Worker is named and whatever credential is sent."""
    token = await token_of(server, press)
    basic = {
        name: "Basic " + base64.b64encode(shown.encode()).decode()
        for name, shown in {
            "no resource": f"nobody:{broker.key}",
            "another secret": f"rabbitmq:{broker.key[:-8]}AAAAAAAA",
            "a Worker's key": f"press-01:{press[1]}",
            "a Worker's key as the broker's": f"rabbitmq:{press[1]}",
            "a token": f"rabbitmq:{token}",
            "nothing": "rabbitmq:",
        }.items()
    }
    seen = set()
    for shown in [None, f"Bearer {token}", f"Bearer {broker.key}", *basic.values()]:
        for name in ("press-01", "nobody"):
            answer = await server.http.post(
                f"/auth/rabbitmq/{endpoint}",
                data={"username": name, "password": token, **OPERATION},
                headers={} if shown is None else {"Authorization": shown},
            )
            assert "allow" not in answer.text
            assert "deny" not in answer.text
            if answer.status_code != 429:
                seen.add((answer.status_code, str(answer.json() | {"reference": ""})))
    # Another scheme than Basic is a mistake in the broker's configuration, not an attempt to authenticate: 400.
    assert {status for status, _ in seen} == {400, 401}
    assert len(seen) == 2


@pytest.mark.parametrize("endpoint", ASKED)
async def test_get_is_not_answered(server, broker, endpoint):
    """A token in a URL would end up in logs."""
    answer = await server.http.get(f"/auth/rabbitmq/{endpoint}?username=press-01", headers=broker.headers)

    assert answer.status_code in {404, 405}


async def test_an_empty_parameter_counts_as_omitted(server, press, broker):
    """A login without a password or an exchange without a name gets the same answer, whether the parameter is empty or absent."""
    assert await broker.ask("user", username="press-01", password="") == "deny"
    await broker.login("press-01", await token_of(server, press))
    for endpoint, form in (
        ("vhost", {"username": "press-01"}),
        ("resource", OPERATION | {"username": "press-01"}),
    ):
        for name in ("vhost", "name", "permission"):
            omitted = {key: value for key, value in form.items() if key != name}
            assert await broker.ask(endpoint, **omitted, **{name: ""}) == await broker.ask(
                endpoint, **omitted
            )


async def test_a_replaced_or_deleted_resource_key_is_refused(server, admin, press, broker):
    """A new key of the resource replaces the one before, and a deleted resource has no key."""
    answer = await server.http.post("/api/resources/rabbitmq/key", headers=admin)
    assert (await broker.post("vhost", username="press-01", vhost="jobs")).status_code == 401
    renewed = Broker(server, answer.json()["key"])
    await renewed.login("press-01", await token_of(server, press))
    assert await renewed.may("press-01") == "allow"

    await server.http.delete("/api/resources/rabbitmq", headers=admin)

    assert (await renewed.post("vhost", username="press-01", vhost="jobs")).status_code == 401


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"username=a&username=b", "application/x-www-form-urlencoded", 400),
        (b'{"username":"a"}', "application/json", 400),
        (b"username=" + b"a" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"username=\xff", "application/x-www-form-urlencoded", 400),
    ],
)
async def test_a_malformed_form_is_rejected(server, broker, content, kind, status):
    """Its size is limited and no parameter may be repeated, so that two readers cannot see different users."""
    answer = await server.http.post(
        "/auth/rabbitmq/user", content=content, headers={**broker.headers, "Content-Type": kind}
    )

    assert answer.status_code == status


# --- logging in -------------------------------------------------------------------------------------------


async def test_a_worker_logs_in_under_its_own_identity(server, press, broker):
    """With its ID and a token for this broker; it never gets a tag."""
    assert await broker.login("press-01", await token_of(server, press)) == "allow"


async def test_an_enrolled_worker_logs_in(server, admin, broker):
    """If the resource includes enrolled Workers; when it no longer does, the Worker is refused and its connection closed."""
    worker_id, key = await server.enrolled("press")
    await server.http.patch("/api/resources/rabbitmq", json={"include_enrolled": True}, headers=admin)
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": server.assertion(key, worker_id),
        "resource": "rabbitmq",
    }
    token = (await server.http.post("/oauth2/token", data=form)).json()["access_token"]
    assert await broker.login(worker_id, token) == "allow"
    assert await broker.may(worker_id) == "allow"

    await server.http.patch("/api/resources/rabbitmq", json={"include_enrolled": False}, headers=admin)

    assert await broker.login(worker_id, token) == "deny"
    assert await broker.may(worker_id) == "deny"
    assert await broker.close((worker_id, 1)) == [0]


async def test_a_wrong_login_is_denied_and_its_cause_recorded(server, admin, press, broker):
    """The broker reads only `deny`; operators see the cause."""
    token = await token_of(server, press)
    await server.http.post("/api/workers", json={"name": "press-02", "id": "press-02"}, headers=admin)
    await define(server, admin, "other", "other", scopes=SCOPES, for_all_workers=True)
    tries = {
        "another Worker's token": ("press-02", token, "wrong_token"),
        "an unknown caller's name": ("nobody", token, "wrong_token"),
        "a token for the Server": ("press-01", await token_of(server, press, resource=""), "wrong_token"),
        "a token for another service": (
            "press-01",
            await token_of(server, press, resource="other"),
            "wrong_token",
        ),
        "an API key": ("press-01", press[1], "wrong_token"),
        "the broker's own key": ("rabbitmq", broker.key, "wrong_token"),
        "another spelling": ("PRESS-01", token, "wrong_token"),
        "a forged signature": ("press-01", token[:-8] + "AAAAAAAA", "wrong_token"),
        "no password": ("press-01", "", "missing_credentials"),
        "no user": ("", token, "wrong_token"),
    }
    for what, (name, password, cause) in tries.items():
        server.clock.forward(seconds=1)
        assert await broker.login(name, password) == "deny", what
        assert (await last_cause(server, admin))[0] == cause, what
    # For a user authenticated by a client certificate, the broker asks without a password.
    assert await broker.ask("user", username="press-01") == "deny"


async def test_an_expired_token_does_not_log_in(server, admin, press, broker):
    """From the second of its `exp`. A connection that was opened with it stays, like a session."""
    token = await token_of(server, press)
    server.clock.forward(seconds=899)
    assert await broker.login("press-01", token) == "allow"

    server.clock.forward(seconds=1)

    assert await broker.login("press-01", token) == "deny"
    assert (await last_cause(server, admin))[0] == "token_expired"
    assert await broker.may("press-01") == "allow"
    assert await broker.close(("press-01", 1)) == []


async def test_a_bound_token_does_not_log_in(server, press, broker):
    """A thief could use it here without the proof of possession."""
    key = generate_identity_key()
    form = {
        "grant_type": "client_credentials",
        "client_id": press[0],
        "client_secret": press[1],
        "resource": "rabbitmq",
    }
    first = await server.http.post("/oauth2/token", data=form, headers={"DPoP": dpop(key, server)})
    proof = dpop(key, server, nonce=first.headers["dpop-nonce"])
    given = (await server.http.post("/oauth2/token", data=form, headers={"DPoP": proof})).json()
    assert given["token_type"] == "DPoP"

    assert await broker.login("press-01", given["access_token"]) == "deny"


# --- what it may do ---------------------------------------------------------------------------------------


async def test_a_worker_may_only_do_what_the_scopes_grant(server, admin, press, broker):
    """Everything else is denied, and operators see which operation was not granted."""
    await broker.login("press-01", await token_of(server, press))
    assert await broker.may("press-01") == "allow"

    for change in (
        {"permission": "configure"},
        {"name": "other"},
        {"vhost": "/"},
        {"permission": ""},
        {"name": "*"},
    ):
        assert await broker.ask("resource", username="press-01", **(OPERATION | change)) == "deny", change
    assert await broker.ask("vhost", username="press-01", vhost="/") == "deny"
    assert await broker.ask("topic", username="press-01", **(TOPIC | {"routing_key": "desk.1"})) == "deny"
    assert await broker.ask("topic", username="press-01", **(TOPIC | {"name": "celery"})) == "deny"
    assert await last_cause(server, admin) == ("operation_not_granted", "press-01")


@pytest.mark.parametrize("endpoint", ASKED[1:])
async def test_a_request_without_its_parameters_is_denied(press, broker, server, endpoint):
    """Default deny."""
    await broker.login("press-01", await token_of(server, press))

    assert await broker.ask(endpoint, username="press-01") == "deny"
    assert await broker.ask(endpoint, tags="") == "deny"


async def test_a_changed_resource_applies_to_the_next_request(server, admin, press, broker):
    """A scope or a Worker that was removed from the resource is denied from then on."""
    await broker.login("press-01", await token_of(server, press))
    await server.http.patch("/api/resources/rabbitmq", json={"scopes": SCOPES[1:]}, headers=admin)
    assert await broker.ask("resource", username="press-01", **OPERATION) == "deny"
    assert await broker.close(("press-01", 1)) == []

    await server.http.patch("/api/resources/rabbitmq", json={"for_all_workers": False}, headers=admin)

    assert await broker.may("press-01") == "deny"
    assert await broker.close(("press-01", 1)) == [0]


# --- revocation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(TAKEN_BACK))
async def test_a_revoked_worker_is_denied_and_disconnected(server, admin, press, broker, how):
    """It may not log in or go on, and its connection must be closed."""
    token = await token_of(server, press)
    await broker.login("press-01", token)
    server.clock.forward(seconds=600)
    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    method, path, body = TAKEN_BACK[how]
    assert await broker.close(("press-01", 600)) == []

    await server.http.request(method, path.format(key=key["name"]), json=body, headers=admin)

    assert await broker.login("press-01", token) == "deny"
    assert await broker.may("press-01") == "deny"
    assert await broker.close(("press-01", 600)) == [0]


async def test_a_worker_that_was_disabled_briefly_logs_in_again(server, admin, press, broker):
    """Its connection from before is closed, even if the broker asked nothing in between; the one from after stays."""
    await broker.login("press-01", await token_of(server, press))
    server.clock.forward(seconds=60)
    for enabled in (False, True):
        await server.http.patch("/api/workers/press-01", json={"enabled": enabled}, headers=admin)
    assert await broker.may("press-01") == "deny"
    assert await broker.login("press-01", await token_of(server, press)) == "allow"

    assert await broker.may("press-01") == "allow"
    assert await broker.close(("press-01", 60), ("press-01", 0)) == [0]


async def test_connections_of_a_revoked_stolen_key_are_closed(server, admin, press, broker):
    """Even if the Worker itself now uses another key: connections from before the thief's last login are closed."""
    answer = await server.http.post(
        "/api/api-keys", json={"name": "second", "worker_ids": ["press-01"]}, headers=admin
    )
    await broker.login("press-01", await token_of(server, press))  # the thief, 300 s ago
    server.clock.forward(seconds=100)
    second = ("press-01", answer.json()["key"])
    await broker.login("press-01", await token_of(server, second))  # the Worker, 200 s ago
    server.clock.forward(seconds=200)
    (stolen,) = [
        key["name"]
        for key in (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
        if key["name"] != "second"
    ]

    await server.http.post(f"/api/api-keys/{stolen}/revoke", headers=admin)

    assert await broker.may("press-01") == "allow"
    assert await broker.close(("press-01", 300), ("press-01", 200)) == [0]


async def test_a_connection_opened_long_before_its_login_is_closed(server, admin, press, broker):
    """The Server assumes that any connection as old as the login may belong to it."""
    token = await token_of(server, press)
    server.clock.forward(seconds=9)
    await broker.login("press-01", token)
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
    await server.http.patch("/api/workers/press-01", json={"enabled": True}, headers=admin)

    assert await broker.close(("press-01", 9)) == [0]


async def test_connections_opened_with_a_revoked_token_are_closed(server, press, broker):
    """RFC 7009: revoking a token also ends what was opened with it."""
    token = await token_of(server, press)
    await broker.login("press-01", token)
    server.clock.forward(seconds=60)
    form = {"token": token, "client_id": press[0], "client_secret": press[1]}
    await server.http.post("/oauth2/revoke", data=form)
    await broker.login("press-01", await token_of(server, press))

    assert await broker.login("press-01", token) == "deny"
    assert await broker.close(("press-01", 60), ("press-01", 0)) == [0]


async def test_many_logins_do_not_evict_a_credential(server, admin, press, broker):
    """A thief that logs in again and again does not make the Server forget which credentials were used."""
    for _ in range(70):
        assert await broker.login("press-01", await token_of(server, press)) == "allow"
        server.clock.forward(seconds=1)
    for enabled in (False, True):
        await server.http.patch("/api/workers/press-01", json={"enabled": enabled}, headers=admin)

    assert await broker.close(("press-01", 1)) == [0]


async def test_revocation_closes_connections_from_before_a_restart(opened):
    """The Server has forgotten the logins, so a connection is closed if any key that may have opened it was revoked since."""
    async with opened() as server:
        admin = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        press = (
            "press-01",
            (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"],
        )
        await define(server, admin, "rabbitmq", "rabbitmq", scopes=SCOPES, for_all_workers=True)
        key = (await server.http.post("/api/resources/rabbitmq/key", headers=admin)).json()["key"]
        await Broker(server, key).login("press-01", await token_of(server, press))
    async with opened(server.clock) as server:
        server.clock.forward(seconds=100)
        admin = await server.sign_in()
        broker = Broker(server, key)
        assert await broker.may("press-01") == "allow"
        assert await broker.close(("press-01", 101)) == []
        (issued,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
        await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
        assert await broker.may("press-01") == "deny"
        assert await broker.close(("press-01", 101)) == [0]
        await server.http.patch("/api/workers/press-01", json={"enabled": True}, headers=admin)
        assert await broker.may("press-01") == "allow"

        await server.http.post(f"/api/api-keys/{issued['name']}/revoke", headers=admin)
        server.clock.forward(seconds=30)

        assert await broker.close(("press-01", 131), ("press-01", 10)) == [0]


async def test_connections_of_unknown_users_are_closed_too(press, broker):
    """An unknown name counts as a deleted Worker, so the caller must leave out its own users."""
    assert await broker.close(("nobody", 1), ("", 1), ("press-01", 1)) == [0, 1]


@pytest.mark.parametrize("character", ["v", '"', "\x7f", "é"])
async def test_the_maximum_of_connections_with_long_names_fits_one_request(server, broker, character):
    """With names of 255 bytes, however they are escaped."""
    name = character * (255 // len(character.encode()))
    reported = json.dumps({"connections": [{"username": name, "vhost": name, "age_s": 12345.678}] * 100})

    answer = await server.http.post("/auth/rabbitmq/connections", content=reported, headers=broker.headers)

    assert answer.json()["close"] == list(range(100))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"[]", 400),
        (b'{"connections":[{"username":"a"}]}', 400),
        (b'{"connections":[{"username":"a","vhost":"jobs","age_s":"1"}]}', 400),
        (b'{"connections":[{"username":"a","vhost":"jobs","age_s":1e300}]}', 400),
        (b'{"connections":[{"username":"a","vhost":"jobs","age_s":-5}]}', 400),
        (b"\xff", 400),
        (b'{"connections":[' + b",".join([b'{"username":"a","age_s":1}'] * 101) + b"]}", 413),
        (b"[" * 401_000, 413),
    ],
)
async def test_a_malformed_list_of_connections_is_rejected(server, broker, content, status):
    """Its size and the number of connections are limited."""
    answer = await server.http.post("/auth/rabbitmq/connections", content=content, headers=broker.headers)

    assert answer.status_code == status


async def test_connections_from_before_a_signing_key_was_withdrawn_are_closed(server, admin, broker, press):
    """Any of them may have used a forged token; one that is opened afterwards stays."""
    await broker.login("press-01", await token_of(server, press))
    server.clock.forward(minutes=5)
    assert await broker.close(("press-01", 300)) == []
    (kid,) = server.services.signing_keys.verification_keys
    body = {"now": True, "withdraw": [kid]}
    assert (await server.http.post("/api/signing-keys/rotate", json=body, headers=admin)).status_code == 200

    assert await broker.close(("press-01", 300)) == [0]
    server.clock.forward(minutes=1)
    await broker.login("press-01", await token_of(server, press))
    assert await broker.close(("press-01", 1), ("press-01", 360)) == [1]
