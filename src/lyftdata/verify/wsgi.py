"""
WSGI middleware (Flask, Django, Bottle, …): every request comes from a Worker, or does not come through.

    app.wsgi_app = WorkerAuthMiddleware(app.wsgi_app, verifier=WorkerVerifier(issuer, audience=…))

What is behind it finds the `WorkerIdentity` in `environ["lyftdata.worker"]`; None on a public path. Nothing else of
the request is changed: the `Authorization` header is passed on.
"""

from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from lyftdata.verify._requests import PublicPaths, bearer_token, checked_scopes, refusal_answer
from lyftdata.verify._threads import WorkerVerifier
from lyftdata.verify.errors import VerificationError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WORKER = "lyftdata.worker"


class WorkerAuthMiddleware:
    """
    Lets Workers through to a WSGI application.

    Args:
        app: The application.
        verifier: Checks the tokens.
        public_paths: Paths for anybody: `/healthz` exactly, `/static/*` with all that is under it. Compared with the
            whole path of the request, decoded, before any routing.
        scopes: What every Worker must be allowed to do.
        realm: Named in `WWW-Authenticate`.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        verifier: WorkerVerifier,
        public_paths: Collection[str] = (),
        scopes: Collection[str] = (),
        realm: str = "lyftdata",
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._public = PublicPaths(public_paths)
        self._scopes = checked_scopes(scopes)
        self._realm = realm

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        if _path(environ) in self._public:
            environ[WORKER] = None
            return self._app(environ, start_response)
        given = environ.get("HTTP_AUTHORIZATION")
        try:
            # Of two headers WSGI servers make one, with a comma between: no token has one.
            token = bearer_token([] if given is None else [given])
            environ[WORKER] = self._verifier.verify(token, scopes=self._scopes)
        except VerificationError as error:
            status, headers, body = refusal_answer(error, self._realm)
            start_response(f"{status} {HTTPStatus(status).phrase}", headers)
            return [body]
        return self._app(environ, start_response)


def _path(environ: "WSGIEnvironment") -> str:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    # PEP 3333 carries the path's bytes as Latin-1.
    return str(path).encode("latin-1", "replace").decode("utf-8", "replace")
