"""
Rejects requests that another site makes an operator's browser send (CSRF).

Browsers say where a request comes from: with Fetch Metadata, or, if they do not send that, with the Origin header. And without a
CORS preflight, which is never granted here, a page of another site can only send what a form can, which does not include JSON. The
API demands both, so that neither depends on the defaults of a framework.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lyftdata.core.errors import ForbiddenError
from lyftdata.server.http.problems import problem

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class CrossSiteError(ForbiddenError):
    """A state-changing request that does not come from a page of this Server."""

    code = "cross_site"


def check_same_site(request: Request, *, issuer: str, require_origin: bool) -> None:
    """
    Reject a request that a page of another site made the browser send.

    Args:
        request: A request that may change state.
        issuer: The Server's public URL.
        require_origin: Whether to reject a request with neither Fetch Metadata nor Origin too: it does not come from a browser.

    Raises:
        CrossSiteError: It comes from another site, or has no origin where one is required.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        if site in {"same-origin", "none"}:
            return
    # Compared as text, never parsed: the scheme matters, and no parser can be deceived. Behind a proxy, the browser sees
    # the public URL.
    elif origin in {issuer, f"{request.url.scheme}://{request.headers.get('host')}"} or (
        origin is None and not require_origin
    ):
        return
    raise CrossSiteError("This request comes from another site.", hint="Go to the Server's own address.")


class SameSiteJson:
    """
    ASGI middleware for an API: a state-changing request must not come from another site, and its body must be JSON.

    Args:
        app: The wrapped application.
        issuer: The Server's public URL; None if the app only serves to generate the OpenAPI document.
    """

    def __init__(self, app: ASGIApp, issuer: str | None) -> None:
        self._app = app
        self._issuer = issuer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403 or 415 before reading any of its body."""
        if scope["type"] != "http" or scope["method"] in _SAFE_METHODS or self._issuer is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            check_same_site(request, issuer=self._issuer, require_origin=False)
        except CrossSiteError as error:
            await problem(403, error.code, error.message, hint=error.hint)(scope, receive, send)
            return
        if _has_body(request) and not _is_json(request):
            answer = problem(
                415, "unsupported_media_type", "The body must be JSON, sent as application/json."
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _is_json(request: Request) -> bool:
    """Return whether the only Content-Type is JSON; a page of another site cannot send that without a preflight."""
    given = request.headers.getlist("content-type")
    return len(given) == 1 and given[0].partition(";")[0].strip().lower() == "application/json"
