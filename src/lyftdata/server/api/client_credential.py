"""Reads how a client of the OAuth endpoints authenticates: exactly one method of RFC 6749, section 2.3, or RFC 7523."""

from collections.abc import Mapping

from starlette.requests import Request

from lyftdata.core.assertions import read_assertion
from lyftdata.core.refusals import WrongAssertionError
from lyftdata.core.secret import Secret
from lyftdata.server.admission.client_authentication import Presented
from lyftdata.server.http.authorization_header import basic_credentials
from lyftdata.server.http.oauth_errors import OAuthError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def read_credential(request: Request, form: Mapping[str, str], *, address: str) -> Presented | None:
    """
    Return the client's only credential, None if the request does not even name a client.

    Args:
        request: Its Authorization header is read.
        form: The parameters of its body; none of them is empty.
        address: Where the request came from.

    Raises:
        OAuthError: Several credentials at once, two that name different clients, or a header that cannot be parsed.
        WrongAssertionError: An assertion that is not a compact JWS.
    """
    basic = basic_credentials(request)
    client_id, secret, assertion = (
        form.get("client_id"),
        form.get("client_secret"),
        form.get("client_assertion"),
    )
    if (basic is not None) + (secret is not None) + (assertion is not None) > 1:
        raise OAuthError("invalid_request", "Use one way to authenticate, not several.")
    if basic is not None:
        if client_id not in {None, basic[0]}:
            raise OAuthError("invalid_request", "client_id is not that of the Authorization header.")
        return Presented(basic[0], secret=Secret(basic[1]))
    if secret is not None and client_id is not None:
        return Presented(client_id, secret=Secret(secret))
    if assertion is not None:
        return _assertion(client_id, form.get("client_assertion_type"), assertion, address=address)
    return None if client_id is None else Presented(client_id)


def _assertion(client_id: str | None, kind: str | None, assertion: str, *, address: str) -> Presented:
    if kind != ASSERTION_TYPE:
        raise OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}.")
    mismatch = "client_id is not that of the assertion."
    try:
        read = read_assertion(assertion)
    except WrongAssertionError:
        # It names no Worker, so it cannot match the client_id in the form.
        if client_id is not None:
            raise OAuthError("invalid_request", mismatch) from None
        raise
    # Only to find the entry whose key then verifies it; a false claim fails that check.
    claimed = read.unsafe_client_id() or ""
    if client_id not in {None, claimed}:
        raise OAuthError("invalid_request", mismatch)
    return Presented(claimed, assertion=read, address=address)
