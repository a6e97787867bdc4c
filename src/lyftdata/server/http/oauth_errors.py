"""OAuth protocol errors, and their responses."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from lyftdata.core.errors import LyftdataError
from lyftdata.server.http.responses import NO_STORE, json_response


class OAuthError(LyftdataError):
    """
    A request that violates the protocol (RFC 6749, section 5.2; RFC 7591, section 3.2.2).

    Args:
        error: The standard's error code, for example `invalid_request`.
        description: What is wrong, in ASCII without quotes or backslashes.
        status: HTTP status.
    """

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error: Final = error
        self.status: Final = status


def oauth_error_response(error: OAuthError, *, headers: Mapping[str, str] = {}) -> Response:
    """Return a protocol error in the format of the RFCs."""
    body = {"error": error.error, "error_description": error.message}
    return json_response(body, status=error.status, headers={**NO_STORE, **headers})
