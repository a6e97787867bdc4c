"""What RabbitMQ asks: who may ask, who may log in, what it may do, and which connections must go."""

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
    """A RabbitMQ, as far as the Server can tell."""

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
        """Return what three of the four say; all the same as long as only the Worker's own state differs."""
        answers = {
            await self.ask("vhost", username=worker_id, vhost="jobs", ip="127.0.0.1", tags=""),
            await self.ask("resource", username=worker_id, tags="", **OPERATION),
            await self.ask("topic", username=worker_id, **TOPIC),
        }
        assert len(answers) == 1
        return answers.pop()

    async def close(self, *connections):
        """Return the places of those that must go, each given as user name and age in seconds."""
        reported = [{"username": name, "vhost": "jobs", "age_s": age_s} for name, age_s in connections]
        answer = await self._server.http.post(
            "/auth/rabbitmq/connections", json={"connections": reported}, headers=self.headers
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["close"]


@pytest.fixture
async def broker(server, admin):
    """Return a broker whose resource is for every Worker."""
    await define(server, admin, "rabbitmq", "rabbitmq", scopes=SCOPES, for_all_workers=True)
    answer = await server.http.post("/api/resources/rabbitmq/key", headers=admin)
    return Broker(server, answer.json()["key"])


async def token_of(server, press, **form):
    """Return a token for the broker."""
    return (await server.token_by_key(*press, **({"resource": "rabbitmq"} | form))).json()["access_token"]


async def last_cause(server, admin):
    """Return the code of the latest refusal and whom it names."""
    await server.services.refusals.flush()
    answer = await server.http.get("/api/refusals", headers=admin)
    group = answer.json()["items"][0]
    return group["code"], group["claimed_worker"]


# --- who may ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [*ASKED, "connections"])
async def test_a_unknown_caller_learns_nothing(server, admin, press, broker, endpoint):
    """Without a resource's key the answer is 401 and the same, whichever Worker was named and whatever was shown."""
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
    # A header of another scheme is no attempt but a mistake of the person who set the broker up.
    assert {status for status, _ in seen} == {400, 401}
    assert len(seen) == 2


@pytest.mark.parametrize("endpoint", ASKED)
async def test_nothing_is_asked_in_a_url(server, broker, endpoint):
    """A token in a URL is in every log: by GET nothing is answered."""
    answer = await server.http.get(f"/auth/rabbitmq/{endpoint}?username=press-01", headers=broker.headers)

    assert answer.status_code in {404, 405}


async def test_empty_parameters_are_omitted_ones(server, press, broker):
    """A login without a password, an exchange without a name: the same answer whether the parameter was sent or not."""
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


async def test_a_taken_back_key_asks_no_more(server, admin, press, broker):
    """A new key of the resource ends the one before, and a deleted resource has none."""
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
async def test_what_is_no_form_is_no_question(server, broker, content, kind, status):
    """Bounded, and no parameter twice: two readers of it must not see two users."""
    answer = await server.http.post(
        "/auth/rabbitmq/user", content=content, headers={**broker.headers, "Content-Type": kind}
    )

    assert answer.status_code == status


# --- logging in -------------------------------------------------------------------------------------------


async def test_a_worker_logs_in_under_its_own_identity(server, press, broker):
    """With its ID and a token for this broker; no tag is ever given."""
    assert await broker.login("press-01", await token_of(server, press)) == "allow"


async def test_an_enrolled_worker_logs_in(server, admin, broker):
    """By its identity key, where the resource says that enrolled Workers are meant."""
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


async def test_what_does_not_log_in(server, admin, press, broker):
    """Each reads `deny`; the operator reads which it was."""
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
    # Brokers ask without a password about users whom a certificate has let in.
    assert await broker.ask("user", username="press-01") == "deny"


async def test_a_token_that_has_ended_does_not_log_in(server, admin, press, broker):
    """From the second of its `exp`; the connection that it has opened stays, like a session."""
    token = await token_of(server, press)
    server.clock.forward(seconds=899)
    assert await broker.login("press-01", token) == "allow"

    server.clock.forward(seconds=1)

    assert await broker.login("press-01", token) == "deny"
    assert (await last_cause(server, admin))[0] == "token_expired"
    assert await broker.may("press-01") == "allow"
    assert await broker.close(("press-01", 1)) == []


async def test_a_bound_token_does_not_log_in(server, press, broker):
    """Anyone who has stolen it could show it here without the proof."""
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


async def test_a_worker_may_do_what_the_scopes_name(server, admin, press, broker):
    """And nothing else, which the operator reads in words."""
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
async def test_a_question_without_its_parts_is_denied(press, broker, server, endpoint):
    """Default deny."""
    await broker.login("press-01", await token_of(server, press))

    assert await broker.ask(endpoint, username="press-01") == "deny"
    assert await broker.ask(endpoint, tags="") == "deny"


async def test_scopes_are_those_of_now(server, admin, press, broker):
    """What was taken out of the resource is gone at the next question, and so is the Worker that was."""
    await broker.login("press-01", await token_of(server, press))
    await server.http.patch("/api/resources/rabbitmq", json={"scopes": SCOPES[1:]}, headers=admin)
    assert await broker.ask("resource", username="press-01", **OPERATION) == "deny"
    assert await broker.close(("press-01", 1)) == []

    await server.http.patch("/api/resources/rabbitmq", json={"for_all_workers": False}, headers=admin)

    assert await broker.may("press-01") == "deny"
    assert await broker.close(("press-01", 1)) == [0]


# --- what was taken back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(TAKEN_BACK))
async def test_a_worker_that_was_taken_back_may_do_nothing(server, admin, press, broker, how):
    """Not log in, not go on, not stay connected."""
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


async def test_a_worker_that_was_disabled_for_a_moment_logs_in_again(server, admin, press, broker):
    """Its connection from before goes, also when nobody asked in between; the one from after stays."""
    await broker.login("press-01", await token_of(server, press))
    server.clock.forward(seconds=60)
    for enabled in (False, True):
        await server.http.patch("/api/workers/press-01", json={"enabled": enabled}, headers=admin)
    assert await broker.may("press-01") == "deny"
    assert await broker.login("press-01", await token_of(server, press)) == "allow"

    assert await broker.may("press-01") == "allow"
    assert await broker.close(("press-01", 60), ("press-01", 0)) == [0]


async def test_a_stolen_key_that_was_revoked_holds_no_connection(server, admin, press, broker):
    """Although the Worker itself has moved on to another key: what was accepted before the thief's last login goes."""
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


async def test_a_connection_that_waits_before_it_logs_in_is_found(server, admin, press, broker):
    """Accepted long before its login: what counts is that it may have been behind that login."""
    token = await token_of(server, press)
    server.clock.forward(seconds=9)
    await broker.login("press-01", token)
    await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
    await server.http.patch("/api/workers/press-01", json={"enabled": True}, headers=admin)

    assert await broker.close(("press-01", 9)) == [0]


async def test_a_token_that_the_worker_took_back_holds_no_connection(server, press, broker):
    """RFC 7009, also for what was opened with it."""
    token = await token_of(server, press)
    await broker.login("press-01", token)
    server.clock.forward(seconds=60)
    form = {"token": token, "client_id": press[0], "client_secret": press[1]}
    await server.http.post("/oauth2/revoke", data=form)
    await broker.login("press-01", await token_of(server, press))

    assert await broker.login("press-01", token) == "deny"
    assert await broker.close(("press-01", 60), ("press-01", 0)) == [0]


async def test_many_tokens_push_no_credential_out(server, admin, press, broker):
    """A thief that logs in again and again does not make the Server forget with what."""
    for _ in range(70):
        assert await broker.login("press-01", await token_of(server, press)) == "allow"
        server.clock.forward(seconds=1)
    for enabled in (False, True):
        await server.http.patch("/api/workers/press-01", json={"enabled": enabled}, headers=admin)

    assert await broker.close(("press-01", 1)) == [0]


async def test_a_restart_forgets_logins_and_not_what_was_revoked(opened):
    """Connections from before a restart stay, and go when a key that may be behind them has ended since."""
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


async def test_users_that_are_no_workers_are_named_too(press, broker):
    """The caller leaves out its own: to the Server a name that it does not know is a Worker that was deleted."""
    assert await broker.close(("nobody", 1), ("", 1), ("press-01", 1)) == [0, 1]


@pytest.mark.parametrize("character", ["v", '"', "\x7f", "é"])
async def test_many_connections_with_long_names_are_one_question(server, broker, character):
    """As many as a question may hold, with names of 255 bytes, however they are escaped."""
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
async def test_what_is_no_list_of_connections(server, broker, content, status):
    """Bounded, and said to be wrong."""
    answer = await server.http.post("/auth/rabbitmq/connections", content=content, headers=broker.headers)

    assert answer.status_code == status


async def test_connections_from_before_a_key_was_withdrawn_must_go(server, admin, broker, press):
    """Any of them may have begun with a forged token; one that is opened after it stays."""
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
