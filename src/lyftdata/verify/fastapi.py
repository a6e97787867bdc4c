"""
FastAPI dependency: a path operation that takes a `WorkerIdentity` admits only Workers.

    require_worker = RequireWorker(AsyncWorkerVerifier(issuer, audience=…))
    Worker = Annotated[WorkerIdentity, Depends(require_worker)]

    @app.get("/jobs")
    async def jobs(worker: Worker) -> list[str]: …

Scopes: `Security(require_worker, scopes=["jobs:write"])`, or `RequireWorker(verifier, scopes=["jobs:write"])` for all.
A Worker without one of them is answered 403 `insufficient_scope`. The OpenAPI description shows the lock.
Needs `fastapi`, which `lyftdata` does not install.
"""

from collections.abc import Collection

from fastapi import HTTPException, WebSocketException
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from lyftdata.verify._gate import AsyncTokenVerifier, AsyncWorkerGate
from lyftdata.verify._requests import refusal_headers, websocket_close_code
from lyftdata.verify.errors import VerificationError
from lyftdata.verify.identity import WorkerIdentity


class RequireWorker(SecurityBase):
    """
    A dependency that returns the Worker of a request, or refuses the request.

    Args:
        verifier: Checks the tokens: an `AsyncWorkerVerifier`, or a class of your own with its `verify`.
        scopes: What every Worker must be allowed to do.
        realm: Named in `WWW-Authenticate`.
        scheme_name: Of the security scheme in OpenAPI.

    Raises:
        TypeError: The verifier is one for threads, or not a verifier.
        InvalidInputError: A scope that no token can hold.
    """

    def __init__(
        self,
        verifier: AsyncTokenVerifier,
        *,
        scopes: Collection[str] = (),
        realm: str = "lyftdata",
        scheme_name: str = "WorkerToken",
    ) -> None:
        self.model = HTTPBearer(
            bearerFormat="JWT", description="A worker token (RFC 9068), got from the Server at /oauth2/token."
        )
        self.scheme_name = scheme_name
        self._gate = AsyncWorkerGate(verifier, scopes=scopes)
        self._realm = realm

    async def __call__(self, connection: HTTPConnection, security_scopes: SecurityScopes) -> WorkerIdentity:
        """
        Return the Worker.

        Raises:
            HTTPException: 401 or 403, with `WWW-Authenticate` as RFC 6750 has it; 500 or 503.
            WebSocketException: The same for a websocket, as 1008 or 1011.
        """
        try:
            return await self._gate.admit(
                connection.headers.getlist("authorization"), more_scopes=security_scopes.scopes
            )
        except VerificationError as error:
            headers = {"Cache-Control": "no-store", **refusal_headers(error, self._realm)}
            if connection.scope["type"] == "websocket":
                raise WebSocketException(websocket_close_code(error), error.public) from error
            raise HTTPException(error.status, error.public, headers) from error
