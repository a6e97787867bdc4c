"""ASGI, FastAPI, WSGI and Flask: a Worker gets through and is known; anybody else reads RFC 6750."""

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

# --- finding the token, and the open paths --------------------------------------------------------------


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
def test_the_token_is_in_the_one_authorization_header(headers, token):
    """One header of scheme Bearer; of two none is chosen."""
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
def test_a_public_path_opens_itself_and_nothing_else(path, public):
    """Neither a step upwards nor a look-alike gets through by a public path."""
    assert (path in PublicPaths(["/healthz", "/static/*"])) is public


@pytest.mark.parametrize("paths", ["/healthz", ["healthz"], ["/a*"], ["/a/*/b"], ["*"]])
def test_a_public_path_that_would_surprise_is_refused(paths):
    """What is no path, or a pattern that does not exist, is refused when the application is put together."""
    with pytest.raises(InvalidInputError):
        PublicPaths(paths)


@pytest.mark.parametrize("scopes", ["jobs", ["a b"], [""], ['a"b']])
def test_a_scope_that_no_token_can_hold_is_refused(scopes):
    """A plain string instead of a list is refused too."""
    with pytest.raises(InvalidInputError):
        checked_scopes(scopes)


# --- ASGI -----------------------------------------------------------------------------------------------


class Echo:
    """An ASGI application that keeps what it was given."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})


def asgi(world, **options):
    """Return an application behind the middleware, and a client of it."""
    echo = Echo()
    app = AsgiMiddleware(echo, verifier=world.async_verifier(), **options)
    return echo, httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service")


def bearer(token):
    """Return the header of a token."""
    return {"Authorization": f"Bearer {token}"}


async def test_asgi_lets_a_worker_through_and_says_who_it_is():
    """The application finds the identity in both places, and the header as it came."""
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
async def test_asgi_keeps_anybody_else_out(headers, status, error):
    """401 or 403, the challenge of RFC 6750, and the application never sees the request."""
    echo, http = asgi(World(), scopes=["jobs:read"])

    answer = await http.get("/jobs", headers=headers)

    challenge = answer.headers["www-authenticate"]
    assert answer.status_code == status
    assert challenge.startswith('Bearer realm="lyftdata"')
    assert (f'error="{error}"' in challenge) if error else ("error" not in challenge)
    assert echo.scopes == []


async def test_asgi_says_when_it_cannot_check():
    """An outage is 503 with Retry-After, without a challenge: the client keeps its token."""
    world = World()
    world.server.up = False
    _, http = asgi(world)

    answer = await http.get("/jobs", headers=bearer(mint()))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "www-authenticate" not in answer.headers


async def test_asgi_has_public_paths():
    """A public path is for anybody, and says that nobody was checked."""
    echo, http = asgi(World(), public_paths=["/healthz"])

    answer = await http.get("/healthz", headers=bearer("nonsense"))

    assert answer.text == "in"
    assert echo.scopes[0]["lyftdata.worker"] is None
    with pytest.raises(LookupError, match="public"):
        worker_of_scope(echo.scopes[0])
    assert echo.scopes[0]["state"]["worker"] is None


async def test_asgi_passes_the_lifespan_on():
    """Start and end of the application are its own."""
    echo, _ = asgi(World())
    scope = {"type": "lifespan", "state": {}}
    app = AsgiMiddleware(echo, verifier=World().async_verifier())

    await app(scope, asyncio.Queue[Any]().get, asyncio.Queue[Any]().put)

    assert echo.scopes == [scope]


async def test_asgi_keeps_unknown_kinds_of_connection_out():
    """What the middleware does not know is not let through unchecked."""
    echo, sent = Echo(), []

    async def send(message):
        sent.append(message)

    app = AsgiMiddleware(echo, verifier=World().async_verifier(), public_paths=["/healthz"])
    await app({"type": "webtransport", "path": "/healthz", "headers": []}, asyncio.Queue[Any]().get, send)

    assert echo.scopes == []
    assert sent[0]["status"] == 401


def websocket_app(world):
    """Return an application with a websocket, behind the middleware."""
    app = FastAPI()

    @app.websocket("/ws")
    async def ws(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text(websocket.scope["lyftdata.worker"].worker_id)
        await websocket.close()

    return TestClient(AsgiMiddleware(app, verifier=world.async_verifier()))


def test_a_websocket_is_a_workers():
    """A websocket opens for a Worker, and says who it is."""
    with websocket_app(World()).websocket_connect("/ws", headers=bearer(mint())) as ws:
        assert ws.receive_text() == "w-17"


@pytest.mark.parametrize("headers", [{}, bearer("nonsense")])
def test_a_websocket_of_anybody_else_does_not_open(headers):
    """Refused before it is accepted, with 401 where the server can say so."""
    from starlette.testclient import WebSocketDenialResponse

    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        websocket_app(World()).websocket_connect("/ws", headers=headers),
    ):
        pass
    assert denied.value.status_code == 401
    assert denied.value.headers["www-authenticate"].startswith("Bearer")


async def test_a_websocket_is_closed_where_the_server_knows_no_other_answer():
    """Without the extension for answers it is closed before it was opened."""
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
    """A parameter of type WorkerIdentity is the Worker of the request; other paths are as open as before."""
    http = fastapi_client(World())

    assert http.get("/me", headers=bearer(mint())).json() == {
        "id": "w-17",
        "labels": {"zone": "eu-1", "gpu": ""},
    }
    assert http.get("/open").json() == "in"


def test_fastapi_refuses_in_the_words_of_rfc_6750():
    """401 without a token, 401 with a wrong one, 403 without the scope, 503 in an outage."""
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


def test_fastapi_guards_websockets():
    """The same dependency opens a websocket for a Worker, and for nobody else."""
    http = fastapi_client(World())

    with http.websocket_connect("/ws", headers=bearer(mint())) as ws:
        assert ws.receive_text() == "w-17"
    with pytest.raises(WebSocketDisconnect) as refused, http.websocket_connect("/ws"):
        pass
    assert refused.value.code == 1008


def test_openapi_shows_the_lock():
    """The description names a bearer scheme, and which operations need it, with their scopes."""
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


def test_flask_knows_the_worker():
    """A Flask view finds the Worker in the environ."""
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
def test_flask_keeps_anybody_else_out(headers, status):
    """401 or 403, the challenge of RFC 6750; 404 is not told apart from the rest."""
    http = flask_client(World(), scopes=["jobs:read"])

    for path in ("/me", "/nothing"):
        answer = http.get(path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_wsgi_has_public_paths():
    """Public paths are compared decoded, and a Worker there is None."""
    http = flask_client(World(), public_paths=["/healthz", "/größe/*"])

    assert http.get("/healthz").text == "None"
    assert http.get("/gr%C3%B6%C3%9Fe/x").text == "x"
    assert http.get("/gr%C3%B6%C3%9Fe/%2e%2e/me").status_code == 401
    assert http.get("/me").status_code == 401
