"""ASGI, FastAPI, WSGI and Flask: the application gets the Worker; other callers get an error of RFC 6750."""

import asyncio
from typing import Annotated, Any

import flask
import httpx2
import pytest
from fastapi import Depends, FastAPI, Request, Security, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.unit.verify.peer import World, mint, resigned

from lyftdata.core.errors import InvalidInputError
from lyftdata.verify import WorkerIdentity
from lyftdata.verify._requests import PublicPaths, bearer_token, checked_scopes
from lyftdata.verify.asgi import WorkerAuthMiddleware as AsgiMiddleware
from lyftdata.verify.asgi import current_worker as worker_of_scope
from lyftdata.verify.errors import MissingTokenError
from lyftdata.verify.fastapi import RequireWorker
from lyftdata.verify.wsgi import WorkerAuthMiddleware as WsgiMiddleware
from lyftdata.verify.wsgi import current_worker as worker_of_environ

# --- finding the token, and public paths ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        (["Bearer abc"], "abc"),
        (["bearer abc"], "abc"),
        (["Bearer  abc "], "abc"),
        (["Bearer"], None),
        (["Bearer "], None),
        (["Basic abc"], None),
        (["abc"], None),
        ([""], None),
        ([], None),
        (["Bearer abc", "Bearer abc"], None),
    ],
)
def test_the_token_is_read_from_a_single_authorization_header(headers, token):
    """Of scheme Bearer; if there are two headers, neither is used."""
    if token is None:
        with pytest.raises(MissingTokenError):
            bearer_token(headers)
    else:
        assert bearer_token(headers) == token


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/healthz", True),
        ("/healthz/", False),
        ("/healthz/x", False),
        ("/Healthz", False),
        ("/static/a.css", True),
        ("/static/a/b.css", True),
        ("/static/", True),
        ("/static", False),
        ("/staticx", False),
        ("/static/../jobs", False),
        ("/static/..", False),
        ("/static/./a", False),
        ("/static//jobs", False),
        ("/static/..\\jobs", False),
        ("/static/%2e%2e/jobs", False),
        ("/static/%252E%252E/jobs", False),
        ("/static/..%2fjobs", False),
        ("/static/..%5Cjobs", False),
        ("/static/100%25.css", True),
        ("/x/static/a", False),
        ("", False),
        ("/", False),
    ],
)
def test_a_public_path_covers_only_itself(path, public):
    """No path with `..` and no similar path is public too."""
    assert (path in PublicPaths(["/healthz", "/static/*"])) is public


@pytest.mark.parametrize("paths", ["/healthz", ["healthz"], ["/a*"], ["/a/*/b"], ["*"]])
def test_an_invalid_public_path_is_rejected(paths):
    """What is not a path, or an unsupported pattern, is rejected when the application is put together."""
    with pytest.raises(InvalidInputError):
        PublicPaths(paths)


@pytest.mark.parametrize("scopes", ["jobs", ["a b"], [""], ['a"b']])
def test_an_invalid_scope_is_rejected(scopes):
    """As is a plain string instead of a list."""
    with pytest.raises(InvalidInputError):
        checked_scopes(scopes)


# --- ASGI -----------------------------------------------------------------------------------------------


class Echo:
    """An ASGI application that records the scopes it gets."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})


def asgi(world, **options):
    """Return an application behind the middleware, and a client for it."""
    echo = Echo()
    app = AsgiMiddleware(echo, verifier=world.async_verifier(), **options)
    return echo, httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service")


def bearer(token):
    """Return the header with a token."""
    return {"Authorization": f"Bearer {token}"}


async def test_asgi_passes_the_worker_to_the_application():
    """The identity is in both places in the scope, and the header is unchanged."""
    echo, http = asgi(World())

    answer = await http.get("/jobs", headers=bearer(mint()))

    (scope,) = echo.scopes
    assert answer.text == "in"
    assert worker_of_scope(scope).worker_id == "w-17"
    assert scope["state"]["worker"] is scope["lyftdata.worker"]
    assert (b"authorization", f"Bearer {mint()}".encode()[:20]) in [(k, v[:20]) for k, v in scope["headers"]]


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({}, 401, None),
        ({"Authorization": "Basic eDp5"}, 401, None),
        (bearer("nonsense"), 401, "invalid_token"),
        (bearer(mint(audience="https://other.example")), 401, "invalid_token"),
        (bearer(mint(ttl_s=0)), 401, "invalid_token"),
        (bearer(mint()), 403, "insufficient_scope"),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], 401, None),
    ],
)
async def test_asgi_refuses_other_callers(headers, status, error):
    """With 401 or 403 and the challenge of RFC 6750; the application does not see the request."""
    echo, http = asgi(World(), scopes=["jobs:read"])

    answer = await http.get("/jobs", headers=headers)

    challenge = answer.headers["www-authenticate"]
    assert answer.status_code == status
    assert challenge.startswith('Bearer realm="lyftdata"')
    assert (f'error="{error}"' in challenge) if error else ("error" not in challenge)
    assert echo.scopes == []


async def test_asgi_answers_503_when_it_cannot_check():
    """With Retry-After and without a challenge, so the client keeps its token."""
    world = World()
    world.server.up = False
    _, http = asgi(world)

    answer = await http.get("/jobs", headers=bearer(mint()))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "www-authenticate" not in answer.headers


async def test_asgi_has_public_paths():
    """A public path is for any caller, and has no Worker."""
    echo, http = asgi(World(), public_paths=["/healthz"])

    answer = await http.get("/healthz", headers=bearer("nonsense"))

    assert answer.text == "in"
    assert echo.scopes[0]["lyftdata.worker"] is None
    with pytest.raises(LookupError, match="public"):
        worker_of_scope(echo.scopes[0])
    assert echo.scopes[0]["state"]["worker"] is None


async def test_asgi_passes_lifespan_events_on():
    """To the application, unchanged."""
    echo, _ = asgi(World())
    scope = {"type": "lifespan", "state": {}}
    app = AsgiMiddleware(echo, verifier=World().async_verifier())

    await app(scope, asyncio.Queue[Any]().get, asyncio.Queue[Any]().put)

    assert echo.scopes == [scope]


async def test_asgi_refuses_unknown_kinds_of_connection():
    """They are not passed on unchecked."""
    echo, sent = Echo(), []

    async def send(message):
        sent.append(message)

    app = AsgiMiddleware(echo, verifier=World().async_verifier(), public_paths=["/healthz"])
    await app({"type": "webtransport", "path": "/healthz", "headers": []}, asyncio.Queue[Any]().get, send)

    assert echo.scopes == []
    assert sent[0]["status"] == 401


def websocket_app(world):
    """Return a client of an application with a websocket, behind the middleware."""
    app = FastAPI()

    @app.websocket("/ws")
    async def ws(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text(websocket.scope["lyftdata.worker"].worker_id)
        await websocket.close()

    return TestClient(AsgiMiddleware(app, verifier=world.async_verifier()))


def test_a_worker_can_open_a_websocket():
    """The application knows which Worker it is."""
    with websocket_app(World()).websocket_connect("/ws", headers=bearer(mint())) as ws:
        assert ws.receive_text() == "w-17"


@pytest.mark.parametrize("headers", [{}, bearer("nonsense")])
def test_another_caller_cannot_open_a_websocket(headers):
    """It is refused before it is accepted, with 401 if the ASGI server supports that."""
    from starlette.testclient import WebSocketDenialResponse

    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        websocket_app(World()).websocket_connect("/ws", headers=headers),
    ):
        pass
    assert denied.value.status_code == 401
    assert denied.value.headers["www-authenticate"].startswith("Bearer")


async def test_a_refused_websocket_is_closed_if_the_server_cannot_answer_401():
    """Without the extension for such answers, it is closed before it is accepted."""
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    app = AsgiMiddleware(Echo(), verifier=World().async_verifier())
    await app({"type": "websocket", "path": "/ws", "headers": []}, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "A worker token is needed."}]


# --- FastAPI --------------------------------------------------------------------------------------------


def fastapi_client(world):
    """Return a client of a FastAPI application."""
    require_worker = RequireWorker(world.async_verifier())
    app = FastAPI()

    @app.get("/me")
    async def me(worker: Annotated[WorkerIdentity, Depends(require_worker)]):
        return {"id": worker.worker_id, "labels": dict(worker.labels)}

    @app.post("/jobs")
    async def jobs(worker: Annotated[WorkerIdentity, Security(require_worker, scopes=["jobs:write"])]):
        return worker.worker_id

    @app.get("/open")
    async def open_to_all(request: Request):
        return "in"

    @app.websocket("/ws")
    async def ws(websocket: WebSocket, worker: Annotated[WorkerIdentity, Depends(require_worker)]):
        await websocket.accept()
        await websocket.send_text(worker.worker_id)
        await websocket.close()

    return TestClient(app)


def test_fastapi_gives_the_worker_to_the_path_operation():
    """As a parameter of type WorkerIdentity; path operations without one stay open."""
    http = fastapi_client(World())

    assert http.get("/me", headers=bearer(mint())).json() == {
        "id": "w-17",
        "labels": {"zone": "eu-1", "gpu": ""},
    }
    assert http.get("/open").json() == "in"


def test_fastapi_refusals_follow_rfc_6750():
    """401 without a token or with an invalid one, 403 without the scope, 503 in an outage."""
    world = World()
    http = fastapi_client(world)

    none, wrong = http.get("/me"), http.get("/me", headers=bearer("x"))
    unscoped = http.post("/jobs", headers=bearer(mint()))
    scoped = http.post("/jobs", headers=bearer(resigned(mint(), claims={"scope": "jobs:write"})))

    assert (none.status_code, none.headers["www-authenticate"]) == (401, 'Bearer realm="lyftdata"')
    assert (wrong.status_code, 'error="invalid_token"' in wrong.headers["www-authenticate"]) == (401, True)
    assert unscoped.status_code == 403
    assert 'error="insufficient_scope"' in unscoped.headers["www-authenticate"]
    assert 'scope="jobs:write"' in unscoped.headers["www-authenticate"]
    assert scoped.json() == "w-17"

    world = World()
    world.server.up = False
    outage = fastapi_client(world).get("/me", headers=bearer(mint()))
    assert (outage.status_code, "retry-after" in outage.headers) == (503, True)
    assert {answer.headers["cache-control"] for answer in (none, wrong, unscoped, outage)} == {"no-store"}


def test_fastapi_protects_websockets():
    """With the same dependency, only a Worker can open one."""
    http = fastapi_client(World())

    with http.websocket_connect("/ws", headers=bearer(mint())) as ws:
        assert ws.receive_text() == "w-17"
    with pytest.raises(WebSocketDisconnect) as refused, http.websocket_connect("/ws"):
        pass
    assert refused.value.code == 1008


def test_openapi_describes_the_bearer_scheme():
    """And which operations need it, with their scopes."""
    described = fastapi_client(World()).get("/openapi.json").json()

    scheme = described["components"]["securitySchemes"]["WorkerToken"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
    assert described["paths"]["/me"]["get"]["security"] == [{"WorkerToken": []}]
    assert described["paths"]["/jobs"]["post"]["security"] == [{"WorkerToken": ["jobs:write"]}]
    assert "security" not in described["paths"]["/open"]["get"]


# --- WSGI -----------------------------------------------------------------------------------------------


def flask_client(world, **options):
    """Return a client of a Flask application behind the middleware."""
    app = flask.Flask("service")

    @app.get("/me")
    def me():
        return worker_of_environ(flask.request.environ).worker_id

    @app.get("/healthz")
    def healthz():
        with pytest.raises(LookupError, match="public"):
            worker_of_environ(flask.request.environ)
        return str(flask.request.environ["lyftdata.worker"])

    @app.get("/größe/<x>")
    def other(x):
        return x

    app.wsgi_app = WsgiMiddleware(app.wsgi_app, verifier=world.verifier(), **options)  # type: ignore[method-assign]
    return app.test_client()


def test_a_flask_view_finds_the_worker_in_the_environ():
    """With `current_worker`."""
    answer = flask_client(World()).get("/me", headers=bearer(mint()))

    assert (answer.status_code, answer.text) == (200, "w-17")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (bearer("nonsense"), 401),
        (bearer(mint(ttl_s=0)), 401),
        (bearer(mint()), 403),
        ([("Authorization", f"Bearer {mint()}"), ("Authorization", "Bearer x")], 401),
    ],
)
def test_flask_refuses_other_callers(headers, status):
    """With 401 or 403 and the challenge of RFC 6750, also for a path that does not exist."""
    http = flask_client(World(), scopes=["jobs:read"])

    for path in ("/me", "/nothing"):
        answer = http.get(path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_wsgi_has_public_paths():
    """They are compared decoded, and have no Worker."""
    http = flask_client(World(), public_paths=["/healthz", "/größe/*"])

    assert http.get("/healthz").text == "None"
    assert http.get("/gr%C3%B6%C3%9Fe/x").text == "x"
    assert http.get("/gr%C3%B6%C3%9Fe/%2e%2e/me").status_code == 401
    assert http.get("/me").status_code == 401
