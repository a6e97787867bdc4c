"""`/oauth2/authorize`: an authorization endpoint (RFC 6749, section 3.1) that rejects every request."""

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response

_ERROR = OAuthError(
    "unauthorized_client",
    "No client may use the authorization endpoint. Workers get tokens at the token endpoint, by client_credentials.",
)


async def authorize(_request: Request) -> Response:
    """
    Reject every request.

    It never redirects: no client has a redirect URI (section 4.1.2.1), and redirecting a browser to an address from the
    request would help phishing.
    """
    return oauth_error_response(_ERROR)
