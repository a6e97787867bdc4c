"""Clients: a token is requested once, kept, renewed in time, and sent only to the named origins."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import parse_qs

import httpx
import httpx2
import msgspec
import pytest
import requests
from requests.adapters import BaseAdapter
from tests.builders import ISSUER

from lyftdata.client import (
    OriginNotAllowedError,
    RequestsWorkerAuth,
    TokenKeeper,
    TokenRefusedError,
    TokenUnavailableError,
    WorkerAuth,
)
from lyftdata.client.httpx_auth import HttpxWorkerAuth
from lyftdata.core.assertions import read_assertion, verify_assertion
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.strategy import StoredIdentity

SERVICE = "https://service.example"
KEY = "lyftdata_key"


class World:
    """A Server that issues tokens, services that accept them, and a clock."""

    def __init__(self, **options: Any) -> None:
        self.now_s = 1000.0
        self.forms: list[dict[str, str]] = []
        self.up = True
        self.answer: httpx2.Response | None = None
        self.taken = lambda _token: True
        self.seen: list[tuple[str, str | None]] = []
        self.options = options

    def tokens(self, **options: Any) -> TokenKeeper:
        """Return the token keeper of a Worker with an API key."""
        return TokenKeeper.with_api_key(
            ISSUER, worker_id="w-17", api_key=KEY, **(self.injected() | self.options | options)
        )

    def injected(self) -> dict[str, Any]:
        """Return the transport, the clock and the source of jitter."""
        return {
            "transport": httpx2.MockTransport(self.server),
            "monotonic": lambda: self.now_s,
            "chance": lambda: 0.5,
        }

    def server(self, request: httpx2.Request) -> httpx2.Response:
        """Answer as the token endpoint."""
        assert str(request.url) == f"{ISSUER}/oauth2/token"
        self.forms.append({name: values[0] for name, values in parse_qs(request.content.decode()).items()})
        if not self.up:
            raise httpx2.ConnectError("no route")
        if self.answer is not None:
            response = self.answer
            return httpx2.Response(response.status_code, headers=response.headers, content=response.content)
        return httpx2.Response(200, json={"access_token": f"t{len(self.forms)}", "expires_in": 900})

    def service(self, request: httpx2.Request) -> httpx2.Response:
        """Answer as a service that verifies tokens."""
        given = request.headers.get("authorization")
        self.seen.append((str(request.url), given))
        if request.url.path == "/elsewhere":
            return httpx2.Response(302, headers={"Location": "https://evil.example/x"})
        return httpx2.Response(200 if given and self.taken(given.removeprefix("Bearer ")) else 401)


AUTHS: dict[str, Any] = {
    "sync": WorkerAuth,
    "async": WorkerAuth,
    "requests": RequestsWorkerAuth,
    "httpx sync": HttpxWorkerAuth,
    "httpx async": HttpxWorkerAuth,
}


class Sender:
    """`httpx2` and `httpx`, sync and async, and `requests`, with the same interface."""

    def __init__(self, kind: str, world: World) -> None:
        self.kind = kind
        self.world = world
        self.auth: Any = AUTHS[kind](world.tokens(), origins=[SERVICE])
        self.is_async = kind in {"async", "httpx async"}

    async def ask(self, path: str = "/", *, origin: str = SERVICE, body: Any = None) -> int:
        """Send a request; return the status."""
        method, url = ("GET" if body is None else "POST"), origin + path
        library: Any = httpx if self.kind.startswith("httpx") else httpx2
        options = {"transport": NETWORKS[library](self.world), "auth": self.auth, "follow_redirects": True}
        if self.is_async:
            async with library.AsyncClient(**options) as http:
                status: int = (await http.request(method, url, content=body)).status_code
            if self.auth.tokens._task is not None:  # a background renewal
                await asyncio.wait([self.auth.tokens._task])
            return status
        if self.kind in {"sync", "httpx sync"}:
            with library.Client(**options) as http:
                return (await asyncio.to_thread(http.request, method, url, content=body)).status_code
        with requests.Session() as session:
            session.mount("https://", Adapter(self.world))
            return (
                await asyncio.to_thread(session.request, method, url, data=body, auth=self.auth)
            ).status_code


class Network(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Delivers what `httpx2` sends to the service, and consumes the body as a socket would."""

    def __init__(self, world: World) -> None:
        self.world = world

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Deliver a request."""
        for _ in cast(Any, request.stream):
            pass
        return self.world.service(request)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Deliver a request."""
        async for _ in cast(Any, request.stream):
            pass
        return self.world.service(request)


class HttpxNetwork(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The same for `httpx`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Deliver a request."""
        for _ in cast(Any, request.stream):
            pass
        return self._carry(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Deliver a request."""
        async for _ in cast(Any, request.stream):
            pass
        return self._carry(request)

    def _carry(self, request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers.items())
        response = self.world.service(httpx2.Request(request.method, str(request.url), headers=headers))
        return httpx.Response(response.status_code, headers=dict(response.headers.items()))


NETWORKS: dict[Any, Any] = {httpx2: Network, httpx: HttpxNetwork}


class Adapter(BaseAdapter):
    """Delivers what `requests` sends to the service."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def send(self, request: Any, *_: Any, **_options: Any) -> requests.Response:
        """Deliver a request."""
        body = request.body if isinstance(request.body, str | bytes | None) else b"".join(request.body)
        response = self.world.service(
            httpx2.Request(request.method, request.url, headers=dict(request.headers), content=body)
        )
        answer: Any = requests.Response()
        answer.status_code = response.status_code
        answer.headers.update(response.headers)
        answer.request, answer.url, answer._content = request, request.url, b""
        answer.connection = self
        answer.raw = type("Raw", (), {"release_conn": lambda _: None, "_original_response": None})()
        answer.raw.headers = answer.headers
        return answer

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(params=AUTHS)
def sender_in(request):
    """Return a function that makes a sender of each kind."""
    return lambda world: Sender(request.param, world)


async def test_a_token_is_requested_once_and_sent_each_time(sender_in):
    """One request to the Server for three requests to the service."""
    world = World()
    sender = sender_in(world)

    assert [await sender.ask() for _ in range(3)] == [200, 200, 200]
    assert world.seen == [(f"{SERVICE}/", "Bearer t1")] * 3
    assert world.forms == [{"grant_type": "client_credentials", "client_id": "w-17", "client_secret": KEY}]


async def test_resource_and_scope_are_requested(sender_in):
    """As form parameters of the standards."""
    world = World(resource=SERVICE, scope="jobs:read jobs:write")
    await sender_in(world).ask()

    assert (world.forms[0]["resource"], world.forms[0]["scope"]) == (SERVICE, "jobs:read jobs:write")


@pytest.mark.parametrize(("after_s", "asked"), [(599, 1), (600, 2)])
async def test_a_token_is_renewed_at_two_thirds_of_its_life(sender_in, after_s, asked):
    """Long before a service would refuse it."""
    world = World()
    sender = sender_in(world)
    await sender.ask()
    world.now_s += after_s
    await sender.ask()
    await sender.ask()

    assert len(world.forms) == asked


async def test_an_outage_has_no_effect_while_the_token_is_valid(sender_in):
    """A failed renewal is retried with backoff; the token is used until it expires, and not after."""
    world = World()
    sender = sender_in(world)
    await sender.ask()
    world.up = False
    world.now_s += 600
    for _ in range(5):
        assert await sender.ask() == 200
    assert len(world.forms) == 2
    world.now_s += 299
    assert await sender.ask() == 200
    world.now_s += 1
    with pytest.raises(TokenUnavailableError):
        await sender.ask()
    world.up = True
    world.now_s += 30
    assert await sender.ask() == 200


async def test_after_a_401_the_request_is_repeated_with_another_token(sender_in):
    """Including its body."""
    world = World()
    sender = sender_in(world)
    await sender.ask()
    world.taken = lambda token: token == "t2"
    world.now_s += 10

    assert await sender.ask("/jobs", body=b"work") == 200
    assert [given for _, given in world.seen] == ["Bearer t1", "Bearer t1", "Bearer t2"]


async def test_a_service_that_refuses_every_token_causes_few_token_requests(sender_in):
    """After a 401 to a new token the caller gets the 401: another token would not help."""
    world = World()
    sender = sender_in(world)
    world.taken = lambda _token: False

    assert [await sender.ask() for _ in range(5)] == [401] * 5
    assert len(world.forms) == 1
    world.now_s += 5
    assert await sender.ask() == 401
    assert len(world.forms) == 2
    assert len(world.seen) == 7


async def test_a_401_during_an_outage_reaches_the_caller(sender_in):
    """If there is no other token, the caller gets the service's answer."""
    world = World()
    sender = sender_in(world)
    await sender.ask()
    world.up, world.taken = False, lambda _token: False
    world.now_s += 10

    assert await sender.ask() == 401


async def test_a_token_that_one_service_refuses_is_still_used_for_others(sender_in):
    """While the Server is down and there is no other."""
    world = World()
    sender = sender_in(world)
    await sender.ask()
    world.up = False
    world.now_s += 10
    world.taken = lambda _token: False
    assert await sender.ask() == 401

    world.taken = lambda _token: True
    assert await sender.ask() == 200
    assert world.seen[-1] == (f"{SERVICE}/", "Bearer t1")


async def test_a_streamed_body_is_not_sent_again(sender_in):
    """It can be read only once, so the caller gets the 401."""
    world = World()
    sender = sender_in(world)
    await sender.ask()
    world.taken = lambda _token: False
    world.now_s += 10

    async def stream():
        yield b"work"

    body = stream() if sender.is_async else (part for part in [b"work"])
    assert await sender.ask(body=body) == 401
    assert len(world.seen) == 2


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://service.example.evil.example",
        "https://service.example:8443",
        "http://service.example",
        "https://service.example@evil.example",
    ],
)
async def test_the_token_is_sent_to_no_other_origin(sender_in, origin):
    """For another host, port or scheme, nothing is sent and no token is requested."""
    world = World()
    sender = sender_in(world)

    with pytest.raises(OriginNotAllowedError):
        await sender.ask(origin=origin)
    assert world.seen == []
    assert world.forms == []


async def test_a_redirect_to_another_origin_carries_no_token(sender_in):
    """Not even after a 401 from there."""
    world = World()
    sender = sender_in(world)
    await sender.ask()
    world.seen.clear()
    world.now_s += 100

    assert await sender.ask("/elsewhere") == 401
    assert world.seen == [(f"{SERVICE}/elsewhere", "Bearer t1"), ("https://evil.example/x", None)]
    assert len(world.forms) == 1


@pytest.mark.parametrize(
    ("answer", "error", "final"),
    [
        (
            httpx2.Response(
                401,
                json={
                    "error": "invalid_client",
                    "error_description": "Authentication failed.",
                    "reference": "7K2M9QXD",
                },
            ),
            TokenRefusedError,
            True,
        ),
        (
            httpx2.Response(400, json={"error": "invalid_client", "code": "worker_disabled", "final": False}),
            TokenRefusedError,
            False,
        ),
        (
            httpx2.Response(429, json={"error": "temporarily_unavailable", "reference": "R"}),
            TokenRefusedError,
            False,
        ),
        (httpx2.Response(503, json={"error": "temporarily_unavailable"}), TokenUnavailableError, None),
        (httpx2.Response(502, content=b"<html>"), TokenUnavailableError, None),
        (httpx2.Response(404), TokenUnavailableError, None),
        (httpx2.Response(302, headers={"Location": "https://evil.example"}), TokenUnavailableError, None),
        (httpx2.Response(200, content=b"{}"), TokenUnavailableError, None),
        (
            httpx2.Response(200, json={"access_token": "a\r\nX: y", "expires_in": 900}),
            TokenUnavailableError,
            None,
        ),
        (httpx2.Response(200, content=b"x" * 70_000), TokenUnavailableError, None),
    ],
    ids=lambda value: str(getattr(value, "status_code", "")),
)
async def test_the_error_says_why_there_is_no_token(sender_in, answer, error, final):
    """A refusal with its reference, or an outage; in either case the Server is not asked again at once."""
    world = World()
    world.answer = answer
    sender = sender_in(world)

    with pytest.raises(error) as failed:
        await sender.ask()
    for _ in range(3):
        with pytest.raises(error):
            await sender.ask()
    assert len(world.forms) == 1
    assert getattr(failed.value, "final", None) is final
    assert world.seen == []
    if "reference" in answer.text:
        assert failed.value.reference in answer.text


def test_threads_share_one_request_for_a_token():
    """Many threads without a token cause one request, and all get its result."""
    world = World()
    started, go = threading.Event(), threading.Event()

    def slow(request):
        started.set()
        assert go.wait(180)
        return world.server(request)

    tokens = world.tokens(transport=httpx2.MockTransport(slow))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(tokens.get) for _ in range(8)]
        assert started.wait(180)
        go.set()
        assert {job.result(180) for job in jobs} == {"t1"}
    assert len(world.forms) == 1


def test_a_renewal_does_not_block_other_threads():
    """They use the token that is still valid."""
    world = World()
    tokens = world.tokens()
    tokens.get()
    world.now_s += 600
    assert tokens._lock().acquire()

    assert tokens.get() == "t1"


async def test_tasks_share_one_request_for_a_token():
    """Many tasks without a token cause one request; cancelling one of them does not cancel it."""
    world = World()
    tokens = world.tokens()
    tasks = [asyncio.create_task(tokens.aget()) for _ in range(8)]
    await asyncio.sleep(0)
    tasks[0].cancel()

    assert await asyncio.gather(*tasks[1:]) == ["t1"] * 7
    assert len(world.forms) == 1


# --- credentials ----------------------------------------------------------------------------------------


def test_an_enrolled_worker_signs_an_assertion_for_each_token():
    """For this Server only and new each time; the private key is not sent."""
    from datetime import UTC, datetime

    world, key = World(), generate_identity_key()
    tokens = TokenKeeper.with_identity(
        ISSUER, worker_id="w-5", private_key_pem=key.to_pem(), **world.injected()
    )
    tokens.get()
    world.now_s += 899
    tokens.get()

    spent = set()
    for form in world.forms:
        assert form["client_assertion_type"].endswith(":jwt-bearer")
        checked = verify_assertion(
            read_assertion(form["client_assertion"]),
            key=key.public,
            worker_id="w-5",
            audiences=[ISSUER],
            now=datetime.now(UTC),
        )
        spent.add(checked.jti)
    assert len(spent) == 2


@pytest.mark.parametrize("status", [401, 429])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_enrolled_worker_signs_again_with_the_nonce_of_a_refusal(is_async, status):
    """With the nonce's time, whatever the host's clock says. If that is refused too, it is final."""
    world, key = World(), generate_identity_key()
    nonce = "1772366400." + "A" * 36
    refusal = {"error": "invalid_client", "error_description": "No.", "reference": "7K2M9QXD"}

    def server(request):
        answer = world.server(request)
        claims = read_assertion(world.forms[-1]["client_assertion"]).jws.claims
        if claims.get("nonce") == nonce:
            assert claims["iat"] == 1_772_366_400
            return answer
        return httpx2.Response(status, json=refusal, headers={"Lyftdata-Nonce": nonce})

    injected = world.injected() | {"transport": httpx2.MockTransport(server)}
    tokens = TokenKeeper.with_identity(ISSUER, worker_id="w-5", private_key_pem=key.to_pem(), **injected)

    assert (await tokens.aget() if is_async else tokens.get()) == "t2"
    assert len(world.forms) == 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_worker_whose_clock_is_off_requests_a_nonce_first(is_async, caplog):
    """After one refusal it signs each assertion with the Server's time; the log has one line about the clock."""
    world, key, asked = World(), generate_identity_key(), []
    nonce = "1772366400." + "A" * 36
    date = {"Date": "Sun, 01 Mar 2026 12:00:00 GMT"}

    def server(request):
        asked.append(request.url.path)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if request.url.path == "/oauth2/nonce":
            assert form == {"client_id": "w-5"}
            return httpx2.Response(200, json={"nonce": nonce}, headers=date)
        claims = read_assertion(form["client_assertion"]).jws.claims
        if claims.get("nonce") == nonce and claims["iat"] == 1_772_366_400:
            return httpx2.Response(
                200, json={"access_token": f"t{len(asked)}", "expires_in": 900}, headers=date
            )
        refusal = {"error": "invalid_client", "error_description": "No.", "reference": "7K2M9QXD"}
        return httpx2.Response(401, json=refusal, headers=date | {"Lyftdata-Nonce": nonce})

    injected = world.injected() | {"transport": httpx2.MockTransport(server)}
    tokens = TokenKeeper.with_identity(ISSUER, worker_id="w-5", private_key_pem=key.to_pem(), **injected)
    first = await tokens.aget() if is_async else tokens.get()
    world.now_s += 900
    second = await tokens.aget() if is_async else tokens.get()

    assert (first, second) == ("t2", "t4")
    assert asked == ["/oauth2/token", "/oauth2/token", "/oauth2/nonce", "/oauth2/token"]
    logged = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    assert len(logged) == 1
    assert "ahead of the Server's" in logged[0]


async def test_a_refusal_that_the_clock_may_explain_is_not_final():
    """If the clock is off and there is no nonce, the error says so: with the clock set right, the Worker is accepted."""
    world, key = World(), generate_identity_key()
    refusal = {"error": "invalid_client", "error_description": "No.", "reference": "7K2M9QXD"}
    world.answer = httpx2.Response(401, json=refusal, headers={"Date": "Sun, 01 Mar 2026 12:00:00 GMT"})
    tokens = TokenKeeper.with_identity(
        ISSUER, worker_id="w-5", private_key_pem=key.to_pem(), **world.injected()
    )

    with pytest.raises(TokenRefusedError, match=r"clock is .* ahead of the Server's") as refused:
        await tokens.aget()
    assert not refused.value.final


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("status", [429, 503])
async def test_the_servers_retry_after_is_honoured(status, is_async):
    """However many requests wait for a token, the Server is not asked again before that time."""
    world = World()
    body = {"error": "temporarily_unavailable", "reference": "7K2M9QXD"}
    world.answer = httpx2.Response(status, json=body, headers={"Retry-After": "20"})
    tokens = world.tokens()

    for after_s in (0, 10, 9):
        world.now_s += after_s
        with pytest.raises((TokenRefusedError, TokenUnavailableError)) as failed:
            _ = await tokens.aget() if is_async else tokens.get()
        assert failed.value.retry_after_s == 20
    assert len(world.forms) == 1
    world.now_s += 2
    world.answer = None
    assert (await tokens.aget() if is_async else tokens.get()) == "t2"


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_api_key_is_not_sent_twice_for_a_nonce(is_async):
    """It signs nothing, so the second answer would be the same."""
    world = World()
    refusal = {"error": "invalid_client", "error_description": "No.", "reference": "7K2M9QXD"}
    world.answer = httpx2.Response(401, json=refusal, headers={"Lyftdata-Nonce": "1772366400." + "A" * 36})
    tokens = world.tokens()

    with pytest.raises(TokenRefusedError):
        _ = await tokens.aget() if is_async else tokens.get()
    assert len(world.forms) == 1


def identity_in(directory):
    """Store an enrolled Worker's identity in a directory; return its key."""
    key = generate_identity_key()
    stored = StoredIdentity(issuer=ISSUER, server_url=ISSUER, worker_id="w-5", worker_name="press")
    directory.mkdir(mode=0o700)
    (directory / "identity.json").write_bytes(msgspec.json.encode(stored))
    (directory / "identity-key.pem").write_bytes(key.to_pem())
    for file in directory.iterdir():
        file.chmod(0o600)
    return key


@pytest.mark.parametrize("by_file", [True, False])
def test_the_variables_of_a_worker_host_are_enough(tmp_path, by_file):
    """Those of `lyftdata run worker` name the Server, the Worker and the key, which may be in a file."""
    world = World()
    (tmp_path / "key").write_text(f"{KEY}\n")
    key = (
        {"LYFTDATA_WORKER_API_KEY_FILE": str(tmp_path / "key")}
        if by_file
        else {"LYFTDATA_WORKER_API_KEY": KEY}
    )
    environ = {
        "LYFTDATA_URL": ISSUER,
        "LYFTDATA_WORKER_ID": "w-17",
        "LYFTDATA_JOBS_DIR": str(tmp_path / "none"),
    }

    TokenKeeper.from_environment(environ | key, **world.injected()).get()

    assert world.forms[0]["client_secret"] == KEY


@pytest.mark.parametrize("with_id", [True, False])
def test_an_identity_in_the_workers_directory_is_used(tmp_path, with_id):
    """An enrolled Worker's programs need no secret in their environment; the Worker's ID is optional."""
    world = World()
    identity_in(tmp_path / "jobs")
    environ = {"LYFTDATA_URL": ISSUER, "LYFTDATA_JOBS_DIR": str(tmp_path / "jobs")}
    more = {"LYFTDATA_WORKER_ID": "w-5", "LYFTDATA_WORKER_NAME": "press"} if with_id else {}

    auth = WorkerAuth.from_environment(origins=[SERVICE], environ=environ | more, **world.injected())
    auth.tokens.get()

    assert "client_assertion" in world.forms[0]


@pytest.mark.parametrize("name", ["", "identity.json", "identity-key.pem"])
def test_an_identity_that_others_can_read_or_write_is_not_used(tmp_path, name):
    """Anyone who can write there could choose as which Worker the program acts. The agent rejects it too."""
    world = World()
    identity_in(tmp_path / "jobs")
    opened = tmp_path / "jobs" / name
    opened.chmod(0o777)
    environ = {"LYFTDATA_URL": ISSUER, "LYFTDATA_JOBS_DIR": str(tmp_path / "jobs")}

    with pytest.raises(SettingsError) as refused:
        TokenKeeper.from_environment(environ, **world.injected())

    assert f"{opened} (mode 0777)" in refused.value.problems[0]
    assert world.forms == []


def test_an_identity_behind_a_link_is_not_used(tmp_path):
    """The files must be in the directory itself."""
    world = World()
    identity_in(tmp_path / "jobs")
    (tmp_path / "jobs" / "identity.json").rename(tmp_path / "elsewhere.json")
    (tmp_path / "jobs" / "identity.json").symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(SettingsError, match="symbolic link"):
        TokenKeeper.from_environment({"LYFTDATA_JOBS_DIR": str(tmp_path / "jobs")}, **world.injected())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "no API key"),
        ({"LYFTDATA_WORKER_NAME": "press", "LYFTDATA_AUTO_ENROLLMENT_KEY": "x" * 40}, "enroll first"),
        ({"LYFTDATA_WORKER_ID": "w-1"}, "LYFTDATA_WORKER_API_KEY"),
        ({"LYFTDATA_WORKER_API_KEY": "k"}, "LYFTDATA_WORKER_ID"),
        ({"LYFTDATA_WORKER_ID": "w 1", "LYFTDATA_WORKER_API_KEY": "k"}, "LYFTDATA_WORKER_ID"),
        ({"LYFTDATA_URL": "nonsense"}, "LYFTDATA_URL"),
    ],
    ids=str,
)
def test_an_environment_without_a_worker_says_what_is_missing(tmp_path, given, expected):
    """A missing or incomplete credential is named when the auth is created."""
    with pytest.raises(SettingsError, match=expected):
        TokenKeeper.from_environment({"LYFTDATA_JOBS_DIR": str(tmp_path / "none")} | given)


def test_an_identity_of_another_server_is_not_used(tmp_path):
    """Assertions are only for the Server at which the Worker enrolled, and sent to no other."""
    identity_in(tmp_path / "jobs")
    with pytest.raises(SettingsError, match="LYFTDATA_URL"):
        TokenKeeper.from_environment(
            {"LYFTDATA_URL": "https://evil.example", "LYFTDATA_JOBS_DIR": str(tmp_path / "jobs")}
        )


@pytest.mark.parametrize(
    "url", ["http://lyft.example", "https://lyft.example/path", "lyft.example", "https://u:p@lyft.example"]
)
def test_keys_are_not_sent_in_the_clear(url):
    """Plain http to another machine is rejected when the auth is created, for the Server and for services."""
    with pytest.raises(InvalidInputError):
        TokenKeeper.with_api_key(url, worker_id="w-17", api_key=KEY)
    with pytest.raises(InvalidInputError):
        WorkerAuth(World().tokens(), origins=[url])


@pytest.mark.parametrize("origins", [[], SERVICE])
def test_origins_must_be_named(origins):
    """No origins, or a plain string, is an error and does not mean "everywhere"."""
    with pytest.raises(InvalidInputError, match="origins"):
        WorkerAuth(World().tokens(), origins=origins)


def test_an_api_key_is_not_printed():
    """Neither the token keeper nor its parts show the key."""
    tokens = World().tokens()
    source: Any = tokens._source

    assert KEY not in repr(vars(tokens)) + repr(vars(source)) + repr(vars(source._credential))
