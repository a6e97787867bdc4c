"""
Where an operator goes after signing in: the requested page, with its query.

It comes from a browser, perhaps from a link that somebody else has crafted. Only a path of this Server is
followed: never another host, and nothing that a browser reads as one (WHATWG URL, "special authority
slashes": backslashes are slashes, tabs and line breaks are dropped).
"""

from urllib.parse import urlencode, urlsplit

from starlette.requests import Request

OVERVIEW = "/"
CONFIRM_PATH = "/account/confirm"
_MAX_LENGTH = 4_000
# These do not show a page: the form itself, what begins or ends a session, and the event stream.
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
    """Return a path of this Server, with its query; the overview if the text is anything else."""
    path = unverified.partition("?")[0].partition("#")[0]
    # Open redirect: "//host" and "/\host" name another host, and a browser drops tabs and line breaks before parsing.
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
    """Return the path of the sign-in page, which leads back to where the request was made."""
    destination = safe_destination(_asked_from(request))
    return "/login" if destination == OVERVIEW else f"/login?{urlencode({'next': destination})}"


def confirm_path(request: Request) -> str:
    """Return the path of the page for authenticating again, which leads back to where the operator was."""
    destination = safe_destination(_asked_from(request))
    return CONFIRM_PATH if destination == OVERVIEW else f"{CONFIRM_PATH}?{urlencode({'next': destination})}"


def came_from(request: Request) -> str:
    """
    Return the page of this Server that contained a form that is on every page.

    The browser sends it as the referrer. A page's own URL is not written into it, since somebody may have pasted a secret there.
    """
    return safe_destination(_asked_from(request))


def requested(request: Request) -> str:
    """Return path and query of a request, as the browser sent them."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return (raw.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def _asked_from(request: Request) -> str:
    """Return the operator's current page: for a self-updating part or a form, the page that contains it."""
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
