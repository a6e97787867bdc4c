"""
Serves public documents: cacheable, with an ETag, and readable from pages of any origin.

They are the same for everyone and contain nothing secret, so a page of another site may read them (CORS): an OAuth client in a
browser must find the Server's metadata. Other sites may read nothing else.
"""

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.discovery import PUBLISHED_MAX_AGE_S

_PREFLIGHT_MAX_AGE_S = 86_400

PUBLISHED_METHODS = ("GET", "HEAD", "OPTIONS")


def published(request: Request, body: bytes, *, media_type: str) -> Response:
    """
    Return a public document, or 304 to a client that already has it (RFC 9110, section 13.1.2).

    Args:
        request: With one of `PUBLISHED_METHODS`.
        body: The document.
        media_type: Its type.
    """
    if request.method == "OPTIONS":
        return _preflight()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "Cache-Control": f"public, max-age={PUBLISHED_MAX_AGE_S}",
        "ETag": tag,
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "ETag",
    }
    if _has(request.headers.getlist("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def _preflight() -> Response:
    """
    Answer the CORS preflight that a browser sends before a request with custom headers (Fetch).

    Any header is allowed, since none is read. `*` stands for all of them but Authorization, which is not needed here.
    """
    headers = {
        "Allow": ", ".join(PUBLISHED_METHODS),
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": "*",
        "Access-Control-Max-Age": str(_PREFLIGHT_MAX_AGE_S),
    }
    return Response(status_code=204, headers=headers)


def _has(if_none_match: list[str], tag: str) -> bool:
    """Return whether one of the tags matches; a weak one counts too, since the bytes are the same."""
    given = {part.strip().removeprefix("W/") for value in if_none_match for part in value.split(",")}
    return tag in given or "*" in given
