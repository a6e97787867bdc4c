"""
Refuses requests that another site makes an operator's browser send (CSRF).

Browsers say where a request comes from: Fetch Metadata, or, where they do not send it, the Origin header. And without asking
first (CORS preflight, which is never granted here) a page of another site can only send what a form can: JSON is not
among it. The API demands both, so that neither is left to what a framework does by default.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lyftdata.core.errors import ForbiddenError
from lyftdata.server.http.problems import problem

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class CrossSiteError(ForbiddenError):
    """A request that changes something and does not come from a page of this Server's."""

    code = "cross_site"


def check_same_site(request: Request, *, issuer: str, require_origin: bool) -> None:
    """
    Refuse a request that another site's page made the browser send.

    Args:
        request: One that may change something.
        issuer: The Server's public URL.
        require_origin: Whether a request without Fetch Metadata and without an Origin is refused too: it is not from a browser.

    Raises:
        CrossSiteError: From another site, or without an origin where one is required.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        if site in {"same-origin", "none"}:
            return
    # Compared as text, never parsed: the scheme counts, and no parser can be deceived. Behind a proxy the public
    # URL is what the browser sees.
    elif origin in {issuer, f"{request.url.scheme}://{request.headers.get('host')}"} or (
        origin is None and not require_origin
    ):
        return
    raise CrossSiteError("This request comes from another site.", hint="Go to the Server's own address.")


class SameSiteJson:
    """
    ASGI middleware for an API: what may change something is not from another site, and its body is JSON.

    Args:
        app: What is asked when both hold.
        issuer: The Server's public URL; None where nothing is asked but the OpenAPI document.
    """

    def __init__(self, app: ASGIApp, issuer: str | None) -> None:
        self._app = app
        self._issuer = issuer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or answer 403 or 415 before anything of its body is read."""
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
    """Return whether the one Content-Type is JSON's; a page of another site cannot send that unasked."""
    given = request.headers.getlist("content-type")
    return len(given) == 1 and given[0].partition(";")[0].strip().lower() == "application/json"
