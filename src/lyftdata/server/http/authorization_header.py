"""Parses the `Authorization` header of a request."""

import base64
from urllib.parse import unquote_plus

from starlette.requests import Request

from lyftdata.core.refusals import MissingCredentialsError
from lyftdata.server.http.oauth_errors import OAuthError


def header_values(request: Request, name: bytes) -> list[bytes]:
    """
    Return every value of a header, as received.

    Args:
        request: The request; the HTTP server has lower-cased the header names.
        name: In lower case.
    """
    return [value for key, value in request.scope["headers"] if key == name]


def bearer_token(request: Request) -> str:
    """
    Return the bearer token of a request (RFC 6750, section 2.1: the header, never the URL).

    Raises:
        MissingCredentialsError: No header, more than one, or another scheme.
    """
    values = header_values(request, b"authorization")
    scheme, _, token = values[0].decode("latin-1").partition(" ") if len(values) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingCredentialsError
    return token


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """
    Return client ID and secret of `client_secret_basic` (RFC 6749, section 2.3.1), or None without the header.

    Base64 without padding is accepted: some clients omit it, and the meaning is the same.

    Raises:
        OAuthError: The header cannot be parsed.
    """
    values = header_values(request, b"authorization")
    if not values:
        return None
    scheme, _, encoded = values[0].decode("latin-1").partition(" ")
    if len(values) > 1 or scheme.lower() != "basic":
        raise OAuthError("invalid_request", "Use one Authorization header, of scheme Basic.")
    try:
        decoded = base64.b64decode(_padded(encoded.strip()), validate=True).decode("utf-8")
    except ValueError:
        raise OAuthError("invalid_request", "The Authorization header cannot be read.") from None
    client_id, separator, secret = decoded.partition(":")
    if not separator:
        raise OAuthError("invalid_request", "The Authorization header cannot be read.")
    return unquote_plus(client_id), unquote_plus(secret)


def _padded(encoded: str) -> str:
    bare = encoded.rstrip("=")
    return bare + "=" * (-len(bare) % 4)
