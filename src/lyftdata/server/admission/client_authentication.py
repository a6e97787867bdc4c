"""Authenticates a client of the OAuth endpoints: a Worker, or a resource."""

import msgspec

from lyftdata.core.assertions import UnverifiedAssertion
from lyftdata.core.records import ResourceRecord
from lyftdata.core.refusals import MissingCredentialsError
from lyftdata.core.secret import Secret
from lyftdata.server.admission.token_issuer import Admission, Admitted


class Presented(msgspec.Struct, frozen=True):
    """A credential as received: a client ID with a secret, an assertion or neither; unverified."""

    client_id: str
    secret: Secret | None = None
    assertion: UnverifiedAssertion | None = None
    address: str = ""
    """Where the request came from."""

    def __repr__(self) -> str:
        return f"Presented({self.client_id!r}, ***)"


def admit_worker(admission: Admission, presented: Presented | None) -> Admitted:
    """
    Authenticate a Worker.

    Raises:
        RefusedError: No credential, a wrong one, or the Worker's entry is not in good standing; it names the claimed Worker.
    """
    if presented is None:
        raise MissingCredentialsError
    # One method per request: a request with both was already rejected when it was parsed (RFC 6749, section 2.3).
    if presented.secret is not None:
        return admission.admit_api_key(presented.client_id, presented.secret)
    if presented.assertion is not None:
        return admission.admit_assertion(presented.client_id, presented.assertion, address=presented.address)
    raise MissingCredentialsError(claimed_worker=presented.client_id)


def admit_caller(admission: Admission, presented: Presented | None) -> Admitted | ResourceRecord:
    """Authenticate a Worker or a resource; raises like `admit_worker`."""
    if presented is not None and presented.secret is not None:
        # The key's public id decides whether it is a resource's, not the client ID: a Worker whose ID equals the name of a resource must
        # not be taken for that resource, nor the reverse.
        resource = admission.admit_resource(presented.client_id, presented.secret)
        if resource is not None:
            return resource
    return admit_worker(admission, presented)
