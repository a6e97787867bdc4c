"""Builds responses to Workers: JSON that is not cached, and 503 with Retry-After."""

import functools
from collections.abc import Callable, Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lyftdata.core.errors import LyftdataError
from lyftdata.server.http.whole_answer import NO_CONTENT, Field, Head, send_whole

NONCE_HEADER = "Lyftdata-Nonce"


# Caches must not keep tokens and credentials (RFC 6749, section 5.1).
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

JSON = (b"content-type", b"application/json")

RAW_NO_STORE = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))


NO_STORE_JSON = Head(JSON, *RAW_NO_STORE)
"""The headers of most responses: JSON that is not cached."""


class RawResponse(Response):
    """
    A response whose headers are already bytes, for the requests that every Worker makes all the time.

    Starlette lower-cases and encodes each header of each response, which takes longer than everything a token request
    needs besides its signature.

    Args:
        status: HTTP status.
        head: Its headers; the content length is added, unless the status has no body.
        body: The body.
    """

    def __init__(  # Starlette's own is not called: doing its work once more is what this is for.
        self, status: int, head: Head, body: bytes = b""
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self._head = head

    @functools.cached_property
    def raw_headers(self) -> list[Field]:  # type: ignore[override]  # Starlette sets it when it is made
        """Return the headers in ASGI form, in a list that may be appended to."""
        fields = [*self._head.fields]
        if self.status_code != NO_CONTENT:
            fields.append((b"content-length", b"%d" % len(self.body)))
        return fields

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, in one step if possible."""
        if "raw_headers" in self.__dict__ or not send_whole(
            send, self.status_code, self._head, bytes(self.body)
        ):
            await super().__call__(scope, receive, send)


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] = NO_STORE) -> Response:
    """Return a JSON response that must not be cached."""
    head = NO_STORE_JSON if headers is NO_STORE else Head(JSON, *_raw(headers))
    return RawResponse(status, head, msgspec.json.encode(value))


def _raw(headers: Mapping[str, str]) -> list[Field]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


ErrorPage = Callable[[Scope, LyftdataError], Response | None]
"""Renders the page for an error that occurs before any page is reached; None if the request does not accept a page."""


def no_page(_scope: Scope, _error: LyftdataError) -> Response | None:
    """Return None: for a Server without pages."""
    return None


def temporarily_unavailable(description: str, *, retry_after_s: int, close: bool = False) -> Response:
    """Return 503, which asks the Worker to retry after some seconds."""
    return RawResponse(503, *_unavailable(description, retry_after_s, close))


# Cached: a Server that stops sends the same response to thousands at once.
@functools.lru_cache(maxsize=64)
def _unavailable(
    description: str,
    retry_after_s: int,
    close: bool,  # noqa: FBT001 - one argument of a cache's key
) -> tuple[Head, bytes]:
    headers = {**NO_STORE, "Retry-After": str(retry_after_s)} | ({"Connection": "close"} if close else {})
    body = {"error": "temporarily_unavailable", "error_description": description}
    return Head(JSON, *_raw(headers)), msgspec.json.encode(body)
