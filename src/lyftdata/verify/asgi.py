"""
ASGI middleware that admits only requests and websockets of Workers.

    app = WorkerAuthMiddleware(app, verifier=AsyncWorkerVerifier(issuer, audience=…), public_paths=["/healthz"])

The application behind it gets the `WorkerIdentity` from `current_worker(scope)` (Starlette and FastAPI:
`current_worker(request.scope)`), which reads `scope["lyftdata.worker"]`, or from `scope["state"]["worker"]`
(`request.state.worker`); both are None on a public path. Nothing else of the request is changed: the `Authorization` header is
passed on. A websocket is checked once, when it is opened.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from lyftdata.verify._gate import AsyncTokenVerifier, AsyncWorkerGate
from lyftdata.verify._requests import PublicPaths, refusal_answer, websocket_close_code, worker_in
from lyftdata.verify.errors import VerificationError
from lyftdata.verify.identity import WorkerIdentity

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WORKER = "lyftdata.worker"


def current_worker(scope: Scope) -> WorkerIdentity:
    """
    Return the Worker that makes a request or has opened a websocket.

    Args:
        scope: Of the request; Starlette's and FastAPI's `request.scope`.

    Raises:
        LookupError: There is none: a public path, or a request that did not come through `WorkerAuthMiddleware`.
    """
    return worker_in(scope, WORKER)


class WorkerAuthMiddleware:
    """
    Admits only Workers to an ASGI application.

    Args:
        app: The application.
        verifier: Checks the tokens: an `AsyncWorkerVerifier`, or a class of your own with its `verify`.
        public_paths: Paths that need no token: `/healthz` exactly, `/static/*` with everything below it. Compared with the path
            that the application routes by: the decoded path below the prefix where it is mounted (`root_path`).
        scopes: What every Worker must be allowed to do.
        realm: Named in `WWW-Authenticate`.

    Raises:
        TypeError: The verifier is one for threads, or not a verifier.
        InvalidInputError: An invalid scope or public path.
    """

    def __init__(
        self,
        app: App,
        *,
        verifier: AsyncTokenVerifier,
        public_paths: Collection[str] = (),
        scopes: Collection[str] = (),
        realm: str = "lyftdata",
    ) -> None:
        self._app = app
        self._gate = AsyncWorkerGate(verifier, scopes=scopes)
        self._public = PublicPaths(public_paths)
        self._realm = realm

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or websocket, or pass the lifespan on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] in {"http", "websocket"} and _path(scope) in self._public:
            await self._app(_with_worker(scope, None), receive, send)
        else:
            # Fail closed: connection types that do not exist yet need a token too, so a new one is not a way around the check.
            await self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            worker = await self._gate.admit(_authorization(scope))
        except VerificationError as error:
            await _refuse(error, self._realm, scope, receive, send)
        else:
            await self._app(_with_worker(scope, worker), receive, send)


def _path(scope: Scope) -> str:
    """Return the path that the application routes by: below the prefix at which it is mounted."""
    path: str = scope["path"]
    below = path.removeprefix(scope.get("root_path", ""))
    # Path confusion: the middleware must match what the application routes by, or a path could be public here and private there.
    # `/apiary` is not below `/api`; servers that leave the prefix out of the path have nothing to remove.
    return below if below.startswith("/") or not below else path


def _authorization(scope: Scope) -> list[str]:
    headers = scope.get("headers", ())
    return [value.decode("latin-1") for name, value in headers if name.lower() == b"authorization"]


def _with_worker(scope: Scope, worker: WorkerIdentity | None) -> Scope:
    """Return a copy of the scope with the Worker in it: outer middleware must not see it change."""
    return {**scope, WORKER: worker, "state": {**scope.get("state", {}), "worker": worker}}


async def _refuse(error: VerificationError, realm: str, scope: Scope, receive: Receive, send: Send) -> None:
    status, headers, body = refusal_answer(error, realm)
    prefix = "http"
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            # ASGI servers answer 403 to a close before the handshake; without the extension no other answer is possible.
            code = websocket_close_code(error)
            await send({"type": "websocket.close", "code": code, "reason": error.public})
            return
        prefix = "websocket.http"
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": f"{prefix}.response.start", "status": status, "headers": raw})
    await send({"type": f"{prefix}.response.body", "body": body})
