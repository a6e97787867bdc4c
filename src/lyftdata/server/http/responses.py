"""Builds answers to Workers: JSON that is not cached, and 503 with Retry-After."""

import functools
from collections.abc import Callable, Mapping, Sequence

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from lyftdata.core.errors import LyftdataError

_NO_CONTENT = 204

NONCE_HEADER = "Lyftdata-Nonce"


# Tokens and credentials must not be kept by anything between (RFC 6749, section 5.1).
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_JSON = (b"content-type", b"application/json")

RAW_NO_STORE = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))


class RawResponse(Response):
    """
    An answer whose headers are bytes already, for the paths that every Worker takes all the time.

    Starlette lower-cases and encodes each header of each answer again, which takes longer than all that a token needs
    besides its signature.

    Args:
        status: HTTP status.
        headers: Names in lower case; the body's length is added, and must be left out, unless the status has no body.
        body: The body.
    """

    def __init__(  # Starlette's own is not called: doing its work once more is what this is for.
        self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [*headers]
        if status != _NO_CONTENT:
            self.raw_headers.append((b"content-length", b"%d" % len(body)))


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] = NO_STORE) -> Response:
    """Return a JSON answer that must not be cached."""
    raw = RAW_NO_STORE if headers is NO_STORE else _raw(headers)
    return RawResponse(status, (_JSON, *raw), msgspec.json.encode(value))


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


ErrorPage = Callable[[Scope, LyftdataError], Response | None]
"""Makes the page for an error that is answered before a page is reached; None for a request that wants no page."""


def no_page(_scope: Scope, _error: LyftdataError) -> Response | None:
    """Make none: where there are no pages."""
    return None


def temporarily_unavailable(description: str, *, retry_after_s: int, close: bool = False) -> Response:
    """Return 503: the Worker asks again after so many seconds."""
    return RawResponse(503, *_unavailable(description, retry_after_s, close))


# A Server that stops says the same to thousands at once.
@functools.lru_cache(maxsize=64)
def _unavailable(
    description: str,
    retry_after_s: int,
    close: bool,  # noqa: FBT001 - one argument of a cache's key
) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    headers = {**NO_STORE, "Retry-After": str(retry_after_s)} | ({"Connection": "close"} if close else {})
    body = {"error": "temporarily_unavailable", "error_description": description}
    return (_JSON, *_raw(headers)), msgspec.json.encode(body)
