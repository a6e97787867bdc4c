"""Whether the credential that a client of the OAuth endpoints presents is a Worker's or a resource's."""

import msgspec

from lyftdata.core.assertions import UnverifiedAssertion
from lyftdata.core.records import ResourceRecord
from lyftdata.core.refusals import MissingCredentialsError
from lyftdata.core.secret import Secret
from lyftdata.server.admission.token_issuer import Admission, Admitted


class Presented(msgspec.Struct, frozen=True):
    """A credential as it came: a client ID with a secret or an assertion, or with neither; nothing is proved yet."""

    client_id: str
    secret: Secret | None = None
    assertion: UnverifiedAssertion | None = None

    def __repr__(self) -> str:
        return f"Presented({self.client_id!r}, ***)"


def admit_worker(admission: Admission, presented: Presented | None) -> Admitted:
    """
    Check a Worker's credential.

    Raises:
        RefusedError: It proves nothing, or the Worker may not come in; it says whom it claimed to be.
    """
    if presented is None:
        raise MissingCredentialsError
    if presented.secret is not None:
        return admission.admit_api_key(presented.client_id, presented.secret)
    if presented.assertion is not None:
        return admission.admit_assertion(presented.client_id, presented.assertion)
    raise MissingCredentialsError(claimed_worker=presented.client_id)


def admit_caller(admission: Admission, presented: Presented | None) -> Admitted | ResourceRecord:
    """Check the credential of a Worker or of a resource; raises as `admit_worker`."""
    if presented is not None and presented.secret is not None:
        resource = admission.admit_resource(presented.client_id, presented.secret)
        if resource is not None:
            return resource
    return admit_worker(admission, presented)
