"""

An adapter admits a request only if the verifier returned a `WorkerIdentity`, whatever else the verifier does.

Each test runs with every adapter: WSGI, ASGI and FastAPI (requests and websockets), and all four kinds of gRPC method on both
kinds of server.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest.mock import AsyncMock, Mock, create_autospec

import flask
import grpc
import grpc.aio
import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException, Security, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from tests.builders import NOON
from tests.unit.verify.peer import AUDIENCE, World, mint, resigned
from tests.unit.verify.test_grpc import METHODS, call, handlers
from werkzeug.test import Client
from werkzeug.wrappers import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.verify import AsyncWorkerVerifier, VerificationError, WorkerIdentity, WorkerVerifier
from lyftdata.verify.asgi import WorkerAuthMiddleware as AsgiMiddleware
from lyftdata.verify.errors import VerifierFailedError
from lyftdata.verify.fastapi import RequireWorker
from lyftdata.verify.grpc import AsyncWorkerAuthInterceptor, WorkerAuthInterceptor
from lyftdata.verify.wsgi import WorkerAuthMiddleware as WsgiMiddleware

TOKEN = "a-token.of-some.kind"


class Outcome(NamedTuple):
    """The result of a request: the answer to its sender, and whether the application was called."""

    answer: int | grpc.StatusCode
    reached: bool


def identity(**changes: Any) -> WorkerIdentity:
    """Return an identity, as a user's own verifier would."""
    given: dict[str, Any] = {
        "worker_id": "w-17",
        "name": "press",
        "strategy": "api_key",
        "labels": {},
        "scopes": frozenset(),
        "audience": AUDIENCE,
        "issued_at": NOON,
        "expires_at": NOON,
        "token_id": "j1",
    }
    return WorkerIdentity(**(given | changes))


# --- one request through each adapter ---------------------------------------------------------------------


async def through_wsgi(verifier: Any, scopes: Any = ()) -> Outcome:
    """Send a request to a WSGI application."""
    reached = []

    def app(environ, start_response):
        reached.append(environ)
        start_response("200 OK", [])
        return [b"in"]

    client = Client(WsgiMiddleware(app, verifier=verifier, scopes=scopes))
    answer = client.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
    return Outcome(answer.status_code, bool(reached))


async def through_asgi(verifier: Any, scopes: Any = ()) -> Outcome:
    """Send a request to an ASGI application."""
    reached = []

    async def app(scope, receive, send):
        reached.append(scope)
        await PlainTextResponse("in")(scope, receive, send)

    guarded = AsgiMiddleware(app, verifier=verifier, scopes=scopes)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(guarded), base_url="http://service") as http:
        answer = await http.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
    return Outcome(answer.status_code, bool(reached))


def _websocket_outcome(app: Any, reached: list[Any]) -> Outcome:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        with TestClient(app).websocket_connect("/ws", headers=headers) as ws:
            ws.receive_text()
    except WebSocketDenialResponse as denied:
        return Outcome(denied.status_code, bool(reached))
    except WebSocketDisconnect as closed:
        return Outcome({1008: 403, 1011: 500}[closed.code], bool(reached))
    return Outcome(200, bool(reached))


def _websocket_app(reached: list[Any], *dependencies: Any) -> FastAPI:
    app = FastAPI()

    @app.websocket("/ws", dependencies=dependencies)
    async def ws(websocket: WebSocket):
        reached.append(websocket)
        await websocket.accept()
        await websocket.send_text("in")
        await websocket.close()

    return app


async def through_asgi_websocket(verifier: Any, scopes: Any = ()) -> Outcome:
    """Open a websocket of an ASGI application."""
    reached: list[Any] = []
    guarded = AsgiMiddleware(_websocket_app(reached), verifier=verifier, scopes=scopes)
    return await asyncio.to_thread(_websocket_outcome, guarded, reached)


async def through_fastapi(verifier: Any, scopes: Any = ()) -> Outcome:
    """Send a request to a FastAPI application."""
    reached = []
    app = FastAPI()
    require_worker = RequireWorker(verifier, scopes=scopes)

    @app.get("/")
    async def root(worker: Annotated[WorkerIdentity, Depends(require_worker)]):
        reached.append(worker)

    def ask() -> int:
        return TestClient(app).get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code

    return Outcome(await asyncio.to_thread(ask), bool(reached))


async def through_fastapi_websocket(verifier: Any, scopes: Any = ()) -> Outcome:
    """Open a websocket of a FastAPI application."""
    reached: list[Any] = []
    app = _websocket_app(reached, Depends(RequireWorker(verifier, scopes=scopes)))
    return await asyncio.to_thread(_websocket_outcome, app, reached)


def through_grpc(method: str, *, on_a_loop: bool) -> Callable[..., Awaitable[Outcome]]:
    """Return a function that calls a method of a server with threads or on an event loop."""

    async def through(verifier: Any, scopes: Any = ()) -> Outcome:
        reached: list[Any] = []
        serve = _on_a_loop if on_a_loop else _on_threads
        return Outcome(await serve(method, verifier, scopes, reached), bool(reached))

    through.__name__ = f"through_grpc_{'aio_' if on_a_loop else ''}{method}"
    return through


async def _on_threads(method: str, verifier: Any, scopes: Any, reached: list[Any]) -> grpc.StatusCode:
    from concurrent.futures import ThreadPoolExecutor

    def one(request, context):
        reached.append(request)
        return b"in"

    def many(request, context):
        reached.append(request)
        yield b"in"

    server = grpc.server(ThreadPoolExecutor(2), interceptors=[WorkerAuthInterceptor(verifier, scopes=scopes)])
    server.add_generic_rpc_handlers((handlers((one, many, one, many)),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        return await asyncio.to_thread(_code, f"127.0.0.1:{port}", method)
    finally:
        server.stop(None).wait(180)


async def _on_a_loop(method: str, verifier: Any, scopes: Any, reached: list[Any]) -> grpc.StatusCode:
    async def one(request, context):
        reached.append(request)
        return b"in"

    async def many(request, context):
        reached.append(request)
        yield b"in"

    server = grpc.aio.server(interceptors=[AsyncWorkerAuthInterceptor(verifier, scopes=scopes)])
    server.add_generic_rpc_handlers((handlers((one, many, one, many)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        return await asyncio.to_thread(_code, f"127.0.0.1:{port}", method)
    finally:
        await server.stop(None)


def _code(address: str, method: str) -> grpc.StatusCode:
    try:
        call(address, method, (("authorization", f"Bearer {TOKEN}"),))
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


ON_THREADS = [through_wsgi, *(through_grpc(method, on_a_loop=False) for method in METHODS)]
ON_A_LOOP = [
    through_asgi,
    through_asgi_websocket,
    through_fastapi,
    through_fastapi_websocket,
    *(through_grpc(method, on_a_loop=True) for method in METHODS),
]
OPEN = {200, grpc.StatusCode.OK}
FAILED = {500, grpc.StatusCode.INTERNAL}


def named(adapter: Any) -> str:
    """Return an adapter's name for the test report."""
    return str(adapter.__name__).removeprefix("through_")


adapters = pytest.mark.parametrize("through", ON_THREADS + ON_A_LOOP, ids=named)


def verifier_for(through: Any, answer: Callable[..., Any]) -> Any:
    """Return a user's own verifier that calls the function, of the kind that the adapter accepts."""

    class Own:
        def verify(self, token, *, scopes):
            return answer(token)

    class AsyncOwn:
        async def verify(self, token, *, scopes):
            return answer(token)

    return Own() if through in ON_THREADS else AsyncOwn()


# --- what a verifier returns ------------------------------------------------------------------------------


async def _returns_an_identity() -> WorkerIdentity:
    return identity()


class _Claims:
    """An object that claims to be a WorkerIdentity."""

    __class__ = WorkerIdentity  # type: ignore[assignment]


ANSWERS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "a string": lambda: "w-17",
    "an object": object,
    "a dict of the same members": lambda: {"worker_id": "w-17", "scopes": frozenset({"jobs"})},
    "the class itself": lambda: WorkerIdentity,
    "a coroutine": _returns_an_identity,
    "a mock": Mock,
    "a mock made from the class": lambda: create_autospec(WorkerIdentity, instance=True),
    "an object with that __class__": _Claims,
    "an exception that was not raised": lambda: VerificationError("no"),
}


@adapters
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_only_a_worker_identity_admits_a_request(through, answer):
    """Any other result is a fault of the service: 500, and the application is not called."""
    outcome = await through(verifier_for(through, lambda _token: answer()))

    assert outcome.answer in FAILED
    assert not outcome.reached


@adapters
async def test_a_users_own_verifier_may_admit_a_request(through):
    """Any class with `verify` is a verifier, and it may return a subclass of WorkerIdentity."""

    class CustomIdentity(WorkerIdentity, frozen=True, kw_only=True):
        tenant: str = "acme"

    mine = CustomIdentity(**{name: getattr(identity(), name) for name in WorkerIdentity.__struct_fields__})

    for worker in (identity(), mine):
        outcome = await through(verifier_for(through, lambda _token, worker=worker: worker))
        assert outcome.answer in OPEN
        assert outcome.reached


# --- what a verifier raises -------------------------------------------------------------------------------


@adapters
@pytest.mark.parametrize(
    "error",
    [RuntimeError, StopIteration, KeyError, HTTPException(200), grpc.RpcError, asyncio.TimeoutError],
    ids=lambda error: getattr(error, "__name__", type(error).__name__),
)
async def test_an_unexpected_exception_admits_no_request(through, error):
    """If a verifier raises anything but a refusal, it is a fault of the service: 500, and the application is not called."""

    def fail(token):
        raise error if isinstance(error, Exception) else error(token)

    outcome = await through(verifier_for(through, fail))

    assert outcome.answer in FAILED
    assert not outcome.reached


@adapters
async def test_a_fault_is_logged_without_the_token(through, caplog):
    """The log has the exception's type and where it was raised, but neither its text nor the token."""

    def fail(token):
        raise ValueError(f"cannot read {token}")

    with caplog.at_level(logging.DEBUG, logger="lyftdata.verify"):
        await through(verifier_for(through, fail))

    faults = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(faults) == 1
    assert "raised ValueError" in faults[0].getMessage()
    assert "test_fail_closed.py" in faults[0].getMessage()
    assert all(TOKEN not in record.getMessage() and record.exc_info is None for record in caplog.records)


async def test_a_grpc_caller_learns_nothing_about_a_fault():
    """By itself, gRPC would put the exception's text into the status that the caller reads."""
    from tests.unit.verify.test_grpc import aio_server, bearer, sync_server

    class Failing(World):
        def verifier(self) -> Any:
            return verifier_for(through_wsgi, self.fail)

        def async_verifier(self) -> Any:
            return verifier_for(through_asgi, self.fail)

        def fail(self, token):
            raise ValueError("a secret")

    with sync_server(Failing()) as address, pytest.raises(grpc.RpcError) as one:
        await asyncio.to_thread(call, address, "UnaryUnary", bearer(TOKEN))
    async with aio_server(Failing()) as address:
        with pytest.raises(grpc.RpcError) as other:
            await asyncio.to_thread(call, address, "UnaryUnary", bearer(TOKEN))

    for error in (one.value, other.value):
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, VerifierFailedError.public)


# --- scopes -----------------------------------------------------------------------------------------------


@adapters
async def test_scopes_are_checked_even_if_the_verifier_ignores_them(through):
    """A Worker without them is refused."""
    for worker, expected in (
        (identity(), {403, grpc.StatusCode.PERMISSION_DENIED}),
        (identity(scopes=frozenset({"jobs:read"})), {403, grpc.StatusCode.PERMISSION_DENIED}),
        (identity(scopes=frozenset({"jobs:read", "jobs:write"})), OPEN),
        # Not sets: the constructor does not check its arguments.
        (identity(scopes="jobs:read jobs:write"), FAILED),
        (identity(scopes=["jobs:read", "jobs:write"]), FAILED),
        (identity(scopes=None), FAILED),
    ):
        verifier = verifier_for(through, lambda _token, worker=worker: worker)
        answer, reached = await through(verifier, ["jobs:read", "jobs:write"])
        # A websocket that is denied, or that a framework closes before it is opened, counts as 403.
        assert answer in expected, worker.scopes
        assert reached == (expected is OPEN)


@adapters
async def test_scopes_may_be_an_iterator(through):
    """Even scopes that can be read only once are required."""
    verifier = verifier_for(through, lambda _token: identity())

    outcome = await through(verifier, (scope for scope in ["jobs:read"]))

    assert outcome == (outcome.answer, False)
    assert outcome.answer in {403, grpc.StatusCode.PERMISSION_DENIED}


def test_scopes_of_a_path_operation_are_checked_even_if_the_verifier_ignores_them():
    """`Security(…, scopes=[…])` adds to the scopes that all operations need."""
    verifier = verifier_for(through_fastapi, lambda _token: identity(scopes=frozenset({"jobs:read"})))
    require_worker = RequireWorker(verifier, scopes=["jobs:read"])
    app = FastAPI()

    @app.post("/jobs")
    async def jobs(worker: Annotated[WorkerIdentity, Security(require_worker, scopes=["jobs:write"])]):
        return "in"

    answer = TestClient(app).post("/jobs", headers={"Authorization": f"Bearer {TOKEN}"})

    assert answer.status_code == 403
    assert 'scope="jobs:read jobs:write"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("scopes", ["", "jobs:read"])
async def test_a_string_is_rejected_as_scopes(scopes):
    """It would be read letter by letter, and an empty one would require nothing."""
    world = World()
    token = resigned(mint(), claims={"scope": "jobs:read"})

    with pytest.raises(TypeError):
        world.verifier().verify(token, scopes=scopes)
    with pytest.raises(TypeError):
        await world.async_verifier().verify(token, scopes=scopes)


def test_the_verifier_in_the_how_to_works():
    """The example on the page admits its own Workers and refuses others."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "check-workers-in-a-service.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (example,) = [block for block in blocks if "class OurWorkers" in block]
    names: dict[str, Any] = {}
    exec(example, names)

    def status(worker_id: str) -> int:
        verifier = names["OurWorkers"](World().verifier(), [worker_id])
        guarded = WsgiMiddleware(Response("in"), verifier=verifier)
        return Client(guarded).get("/", headers={"Authorization": f"Bearer {mint()}"}).status_code

    assert (status("w-17"), status("w-18")) == (200, 401)


# --- the wrong kind of verifier ---------------------------------------------------------------------------


class _Callable:
    async def __call__(self, token, *, scopes):
        return identity()


class _CallableVerify:
    verify = _Callable()


class _AsyncSubclass(WorkerVerifier):
    async def verify(self, unverified_token, *, scopes=()):  # type: ignore[override]
        return super().verify(unverified_token, scopes=scopes)


class _SyncSubclass(AsyncWorkerVerifier):
    def verify(self, unverified_token, *, scopes=()):
        return identity()


def subclass(kind: Any) -> Any:
    """Return an instance of a verifier's subclass."""
    return kind("https://lyftdata.example", audience=AUDIENCE)


@pytest.mark.parametrize("through", ON_THREADS, ids=named)
@pytest.mark.parametrize(
    "make",
    [
        lambda: World().async_verifier(),
        lambda: subclass(_AsyncSubclass),
        lambda: verifier_for(through_asgi, lambda _token: identity()),
        _CallableVerify,
        lambda: AsyncMock(AsyncWorkerVerifier),
        lambda: WorkerVerifier,
        lambda: None,
        object,
    ],
    ids=["async", "subclass", "own", "callable", "mock", "class", "None", "object"],
)
async def test_an_adapter_for_threads_rejects_an_async_verifier(through, make):
    """When the application is put together: the adapter would not await its coroutine."""
    with pytest.raises(TypeError, match="verif"):
        await through(make())


@pytest.mark.parametrize("through", ON_A_LOOP, ids=named)
@pytest.mark.parametrize(
    "make",
    [
        lambda: World().verifier(),
        lambda: subclass(_SyncSubclass),
        lambda: verifier_for(through_wsgi, lambda _token: identity()),
        lambda: Mock(WorkerVerifier),
        lambda: AsyncWorkerVerifier,
        lambda: None,
        object,
    ],
    ids=["sync", "subclass", "own", "mock", "class", "None", "object"],
)
async def test_an_adapter_on_a_loop_rejects_a_sync_verifier(through, make):
    """When the application is put together: it would block the event loop, and cannot be awaited."""
    with pytest.raises(TypeError, match="verif"):
        await through(make())


@pytest.mark.parametrize("through", ON_A_LOOP, ids=named)
async def test_an_async_verify_may_be_wrapped(through):
    """A decorator's wrapper that returns the coroutine is accepted."""
    import functools

    class Own:
        async def verify(self, token, *, scopes):
            return identity()

    verifier = Own()
    wrapped = verifier.verify

    @functools.wraps(wrapped)
    def verify(token, *, scopes):
        return wrapped(token, scopes=scopes)

    verifier.verify = verify  # type: ignore[method-assign]

    assert (await through(verifier)).reached


def test_mypy_knows_which_verifier_an_adapter_accepts():
    """The type checker rejects what the constructor rejects; `make check` fails if an `ignore` here is not needed."""
    sync, loop, app = World().verifier(), World().async_verifier(), Starlette()
    with pytest.raises(TypeError):
        WsgiMiddleware(flask.Flask("x"), verifier=loop)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        WorkerAuthInterceptor(loop)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        AsgiMiddleware(app, verifier=sync)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RequireWorker(sync)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        AsyncWorkerAuthInterceptor(sync)  # type: ignore[arg-type]
    WsgiMiddleware(flask.Flask("x"), verifier=sync)
    AsgiMiddleware(app, verifier=loop)


def test_a_dependency_must_be_an_instance():
    """`Depends(RequireWorker)`, without a verifier, is rejected when the path operation is declared."""
    app = FastAPI()

    with pytest.raises(Exception, match="AsyncTokenVerifier"):

        @app.get("/")
        async def root(worker: Annotated[WorkerIdentity, Depends(RequireWorker)]): ...


async def test_grpc_rejects_an_interceptor_of_the_other_kind():
    """A server on an event loop rejects the interceptor for threads when it is created."""
    with pytest.raises(ValueError, match="Interceptor"):
        grpc.aio.server(interceptors=[WorkerAuthInterceptor(World().verifier())])  # type: ignore[list-item]


# --- public paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script_name", "path_info"),
    [("/static/x", "/me"), ("/static", "/me"), ("/healthz", ""), ("/static/", "me")],
)
def test_a_forged_mount_point_admits_no_request(script_name, path_info):
    """Some WSGI servers take SCRIPT_NAME from a header, so only the path that the application routes by counts."""
    reached = []

    def app(environ, start_response):
        reached.append(environ)
        start_response("200 OK", [])
        return [b"in"]

    guarded = WsgiMiddleware(app, verifier=World().verifier(), public_paths=["/healthz", "/static/*"])
    answer = Client(guarded).get(environ_overrides={"SCRIPT_NAME": script_name, "PATH_INFO": path_info})

    assert answer.status_code == 401
    assert reached == []


def test_public_paths_of_a_mounted_wsgi_application_are_relative():
    """To the application, not to the prefix where it is mounted."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    inner = WsgiMiddleware(Response("in"), verifier=World().verifier(), public_paths=["/healthz", "/me/*"])
    http = Client(DispatcherMiddleware(Response("outside"), {"/me": inner}))

    assert http.get("/me/healthz").status_code == 200
    for path in ("/me", "/me/", "/me/x", "/me/healthz/x"):
        assert http.get(path).status_code == 401, path


def test_public_paths_of_a_mounted_asgi_application_are_relative():
    """To the application, not to the prefix where it is mounted."""

    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("in")

    inner = AsgiMiddleware(
        Starlette(routes=[Route("/{rest:path}", answer)]),
        verifier=World().async_verifier(),
        public_paths=["/healthz", "/me/*"],
    )
    http = TestClient(Starlette(routes=[Mount("/me", app=inner)]))

    assert http.get("/me/healthz").status_code == 200
    for path in ("/me/", "/me/x", "/me/healthz/x", "/me/me"):
        assert http.get(path).status_code == 401, path


@pytest.mark.parametrize(
    ("path", "root_path", "status"),
    [
        ("/healthz", "", 200),
        ("/api/healthz", "/api", 200),
        ("/healthz", "/api", 200),
        ("/apihealthz", "/api", 401),
        ("/api", "/api", 401),
        ("/static/me", "/static", 401),
        ("/static/x/me", "/static/x", 401),
        ("/api/static/me", "/api", 200),
    ],
)
async def test_asgi_public_paths_do_not_include_the_mount_prefix(path, root_path, status):
    """And the prefix cannot be mistaken for a public path."""

    async def app(scope, receive, send):
        await PlainTextResponse("in")(scope, receive, send)

    guarded = AsgiMiddleware(app, verifier=World().async_verifier(), public_paths=["/healthz", "/static/*"])
    transport = httpx2.ASGITransport(guarded, root_path=root_path)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as http:
        assert (await http.get(path)).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "TRACE", "BREW"])
@pytest.mark.parametrize("override", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
async def test_no_method_is_exempt(method, override):
    """Neither a method nor a header that overrides it gets a request past the check."""
    reached = []

    async def app(scope, receive, send):
        reached.append(scope)

    def wsgi(environ, start_response):
        reached.append(environ)

    headers = {override: "OPTIONS", "Authorization": f"Bearer {TOKEN}"}
    guarded = AsgiMiddleware(app, verifier=World().async_verifier(), public_paths=["/healthz"])
    transport = httpx2.ASGITransport(guarded)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as http:
        assert (await http.request(method, "/me", headers=headers)).status_code == 401
    behind = WsgiMiddleware(wsgi, verifier=World().verifier(), public_paths=["/healthz"])
    assert Client(behind).open("/me", method=method, headers=headers).status_code == 401
    assert reached == []


def test_public_paths_and_methods_may_be_iterators_and_never_one_string():
    """An iterator is read once; a string would be read letter by letter."""
    from lyftdata.verify._requests import PublicPaths, checked_methods

    assert "/healthz" in PublicPaths(path for path in ["/healthz"])
    assert checked_methods(name for name in ["/a.B/C"]) == {"/a.B/C"}
    for wrong in ("/a.B/C", ["a.B/C"], ["/a.B/*"], ["/a.B"], ["/"]):
        with pytest.raises(InvalidInputError):
            checked_methods(wrong)
