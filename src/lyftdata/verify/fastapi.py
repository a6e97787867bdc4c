"""
FastAPI dependency: a path operation that takes a `WorkerIdentity` is for Workers alone.

    require_worker = RequireWorker(AsyncWorkerVerifier(issuer, audience=…))
    Worker = Annotated[WorkerIdentity, Depends(require_worker)]

    @app.get("/jobs")
    async def jobs(worker: Worker) -> list[str]: …

Scopes: `Security(require_worker, scopes=["jobs:write"])`, or `RequireWorker(verifier, scopes=["jobs:write"])` for all.
A Worker without one of them is answered 403 `insufficient_scope`. The OpenAPI description shows the lock.
Needs `fastapi`, which `lyftdata` does not install by itself.
"""

from collections.abc import Collection

from fastapi import HTTPException, WebSocketException, status
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from lyftdata.verify._loop import AsyncWorkerVerifier
from lyftdata.verify._requests import bearer_token, checked_scopes, refusal_headers
from lyftdata.verify.errors import VerificationError
from lyftdata.verify.identity import WorkerIdentity


class RequireWorker(SecurityBase):
    """
    A dependency that gives the Worker of a request, or refuses it.

    Args:
        verifier: Checks the tokens.
        scopes: What every Worker must be allowed to do.
        realm: Named in `WWW-Authenticate`.
        scheme_name: Of the security scheme in OpenAPI.
    """

    def __init__(
        self,
        verifier: AsyncWorkerVerifier,
        *,
        scopes: Collection[str] = (),
        realm: str = "lyftdata",
        scheme_name: str = "WorkerToken",
    ) -> None:
        self.model = HTTPBearer(
            bearerFormat="JWT", description="A worker token (RFC 9068), got from the Server at /oauth2/token."
        )
        self.scheme_name = scheme_name
        self._verifier = verifier
        self._scopes = checked_scopes(scopes)
        self._realm = realm

    async def __call__(self, connection: HTTPConnection, security_scopes: SecurityScopes) -> WorkerIdentity:
        """
        Return the Worker.

        Raises:
            HTTPException: 401, 403 or 503, with `WWW-Authenticate` as RFC 6750 has it.
            WebSocketException: The same for a websocket, as 1008.
        """
        try:
            token = bearer_token(connection.headers.getlist("authorization"))
            return await self._verifier.verify(token, scopes=self._scopes.union(security_scopes.scopes))
        except VerificationError as error:
            headers = refusal_headers(error, self._realm)
            if connection.scope["type"] == "websocket":
                raise WebSocketException(status.WS_1008_POLICY_VIOLATION, error.public) from error
            raise HTTPException(error.status, error.public, headers) from error
