"""
WSGI middleware (Flask, Django, Bottle, …) that admits only requests of Workers.

    app.wsgi_app = WorkerAuthMiddleware(app.wsgi_app, verifier=WorkerVerifier(issuer, audience=…))

The application behind it gets the `WorkerIdentity` from `current_worker(environ)` (Flask: `current_worker(request.environ)`), which
reads `environ["lyftdata.worker"]`; that is None on a public path. Nothing else of the request is changed: the
`Authorization` header is passed on.
"""

from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from lyftdata.verify._gate import TokenVerifier, WorkerGate
from lyftdata.verify._requests import PublicPaths, refusal_answer, worker_in
from lyftdata.verify.errors import VerificationError
from lyftdata.verify.identity import WorkerIdentity

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WORKER = "lyftdata.worker"


def current_worker(environ: "WSGIEnvironment") -> WorkerIdentity:
    """
    Return the Worker that makes a request.

    Args:
        environ: Of the request; Flask's `request.environ`, Django's `request.META`.

    Raises:
        LookupError: There is none: a public path, or a request that did not come through `WorkerAuthMiddleware`.
    """
    return worker_in(environ, WORKER)


class WorkerAuthMiddleware:
    """
    Admits only Workers to a WSGI application.

    Args:
        app: The application.
        verifier: Checks the tokens: a `WorkerVerifier`, or a class of your own with its `verify`.
        public_paths: Paths that need no token: `/healthz` exactly, `/static/*` with everything below it. Compared with the path
            that the application routes by: the decoded path below the prefix where it is mounted (`SCRIPT_NAME`).
        scopes: What every Worker must be allowed to do.
        realm: Named in `WWW-Authenticate`.

    Raises:
        TypeError: The verifier is one for an event loop, or not a verifier.
        InvalidInputError: An invalid scope or public path.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        verifier: TokenVerifier,
        public_paths: Collection[str] = (),
        scopes: Collection[str] = (),
        realm: str = "lyftdata",
    ) -> None:
        self._app = app
        self._gate = WorkerGate(verifier, scopes=scopes)
        self._public = PublicPaths(public_paths)
        self._realm = realm

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        if _path(environ) in self._public:
            environ[WORKER] = None
            return self._app(environ, start_response)
        given = environ.get("HTTP_AUTHORIZATION")
        try:
            # Request smuggling: WSGI servers join two `Authorization` headers with a comma, which no token contains, so both are
            # refused as by the other adapters.
            environ[WORKER] = self._gate.admit([] if given is None else [given])
        except VerificationError as error:
            status, headers, body = refusal_answer(error, self._realm)
            start_response(f"{status} {HTTPStatus(status).phrase}", headers)
            return [body]
        return self._app(environ, start_response)


def _path(environ: "WSGIEnvironment") -> str:
    # Path confusion: without SCRIPT_NAME, as the application's own routing does. Some servers take SCRIPT_NAME from a request
    # header: with it a sender could make `/jobs` look like a path below `/static/`.
    path = environ.get("PATH_INFO", "")
    # PEP 3333 carries the path's bytes as Latin-1.
    return str(path).encode("latin-1", "replace").decode("utf-8", "replace")
