"""
Where an operator goes after signing in: the requested page, with its query.

What names it has come through a browser, and perhaps from a link that somebody else has made. Only a path of this
Server's is followed: never another host, and nothing that a browser reads as one (WHATWG URL, "special authority
slashes": backslashes are slashes, tabs and line ends are dropped).
"""

from urllib.parse import urlencode, urlsplit

from starlette.requests import Request

OVERVIEW = "/"
CONFIRM_PATH = "/account/confirm"
_MAX_LENGTH = 4_000
# These show no page: the form itself, what begins or ends a session, and the stream of changes.
_NOT_PAGES = frozenset(
    {
        "/login",
        "/login/second-factor",
        "/login/oidc",
        "/login/oidc/callback",
        "/login/oidc/logout",
        "/logout",
        "/events",
    }
)


def safe_destination(unverified: str) -> str:
    """Return a path of this Server's, with its query; the overview where the text is anything else."""
    path = unverified.partition("?")[0].partition("#")[0]
    # Open redirect: "//host" and "/\host" name another host, and a browser drops tabs and line ends before it looks.
    is_local_page = (
        unverified.startswith("/")
        and "//" not in path
        and "\\" not in unverified
        and unverified.isprintable()
        and len(unverified) <= _MAX_LENGTH
        and path.rstrip("/") not in _NOT_PAGES
    )
    return unverified if is_local_page else OVERVIEW


def sign_in_path(request: Request) -> str:
    """Return the path of the sign-in page, from which the operator comes back to where the request was made."""
    destination = safe_destination(_asked_from(request))
    return "/login" if destination == OVERVIEW else f"/login?{urlencode({'next': destination})}"


def confirm_path(request: Request) -> str:
    """Return the path of the page that asks operators again who they are, from which they come back to where they were."""
    destination = safe_destination(_asked_from(request))
    return CONFIRM_PATH if destination == OVERVIEW else f"{CONFIRM_PATH}?{urlencode({'next': destination})}"


def came_from(request: Request) -> str:
    """
    Return the page of this Server on which a form was that is on every page.

    The browser says it. A page's own address is not written into it: somebody may have pasted a secret there.
    """
    return safe_destination(_asked_from(request))


def requested(request: Request) -> str:
    """Return path and query of a request, as the browser sent them."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return (raw.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def _asked_from(request: Request) -> str:
    """Return the page that the operator is on: of a part that renews itself or a form, the page that holds it."""
    if "hx-request" in request.headers:
        return _without_host(request.headers.get("hx-current-url", ""))
    return (
        requested(request) if request.method == "GET" else _without_host(request.headers.get("referer", ""))
    )


def _without_host(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return OVERVIEW
    return parts.path + (f"?{parts.query}" if parts.query else "")
