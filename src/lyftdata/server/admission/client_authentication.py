"""How a client of the OAuth endpoints authenticates: one way of those of RFC 6749, section 2.3, and RFC 7523."""

from collections.abc import Mapping

import msgspec

from lyftdata.core.assertions import UnverifiedAssertion, read_assertion
from lyftdata.core.records import ResourceRecord
from lyftdata.core.refusals import MissingCredentialsError, RefusedError, WrongAssertionError
from lyftdata.core.secret import Secret
from lyftdata.server.admission.token_issuer import Admission, Admitted
from lyftdata.server.http.wire import OAuthError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Presented(msgspec.Struct, frozen=True):
    """A credential as it came: a client ID with a secret or an assertion, or with neither; nothing is proved yet."""

    client_id: str
    secret: Secret | None = None
    assertion: UnverifiedAssertion | None = None

    def __repr__(self) -> str:
        return f"Presented({self.client_id!r}, ***)"


def read_credential(basic: tuple[str, str] | None, form: Mapping[str, str]) -> Presented | None:
    """
    Find the one way in which a client authenticates, None if it does not even say who it is.

    Args:
        basic: What the Authorization header holds, if there is one.
        form: The parameters; none of them is empty.

    Raises:
        OAuthError: Several ways at once, or two that name different clients.
        WrongAssertionError: An assertion that is no compact JWS.
    """
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
        return _assertion(client_id, form.get("client_assertion_type"), assertion)
    return None if client_id is None else Presented(client_id)


def _assertion(client_id: str | None, kind: str | None, assertion: str) -> Presented:
    if kind != ASSERTION_TYPE:
        raise OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}.")
    mismatch = "client_id is not that of the assertion."
    try:
        read = read_assertion(assertion)
    except WrongAssertionError:
        # It names nobody, and so not whom the form names.
        if client_id is not None:
            raise OAuthError("invalid_request", mismatch) from None
        raise
    # Only to find the entry whose key then checks it; a lie here fails that check.
    claimed = read.unsafe_client_id() or ""
    if client_id not in {None, claimed}:
        raise OAuthError("invalid_request", mismatch)
    return Presented(claimed, assertion=read)


def admit_worker(admission: Admission, presented: Presented | None) -> Admitted:
    """
    Check a Worker's credential.

    Raises:
        RefusedError: It proves nothing, or the Worker may not come in; it says whom it claimed to be.
    """
    if presented is None:
        raise MissingCredentialsError
    try:
        if presented.secret is not None:
            return admission.admit_api_key(presented.client_id, presented.secret)
        if presented.assertion is not None:
            return admission.admit_assertion(presented.client_id, presented.assertion)
        raise MissingCredentialsError
    except RefusedError as refused:
        refused.claimed_worker = refused.claimed_worker or presented.client_id
        raise


def admit_caller(admission: Admission, presented: Presented | None) -> Admitted | ResourceRecord:
    """Check the credential of a Worker or of a resource; raises as `admit_worker`."""
    if presented is not None and presented.secret is not None:
        try:
            resource = admission.admit_resource(presented.client_id, presented.secret)
        except RefusedError as refused:
            refused.claimed_worker = refused.claimed_worker or presented.client_id
            raise
        if resource is not None:
            return resource
    return admit_worker(admission, presented)
