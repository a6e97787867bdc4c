"""`POST /api/worker/identity-key`: a Worker registers the key that will replace its identity key."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.client_metadata import ClientMetadataError
from lyftdata.core.errors import ConflictError
from lyftdata.core.refusals import RefusedError
from lyftdata.server.admission.client_authentication import admit_worker
from lyftdata.server.admission.replay import spend_everywhere
from lyftdata.server.admission.self_management import TooManyChangesError
from lyftdata.server.api.client_credential import read_credential
from lyftdata.server.api.oauth_token import refused_signer
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.freshness import decide
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.request_body import read_form
from lyftdata.server.http.responses import json_response, temporarily_unavailable
from lyftdata.server.runtime.services import Services


async def register_next(request: Request) -> Response:
    """Register the next identity key of a Worker that authenticates with its current one (`admission.identity_key_rotation`)."""
    services: Services = request.app.state.services
    address = client_address(request.scope)
    try:
        form = await read_form(request)
        # Only with an assertion: every service that the Worker calls sees its tokens, which must not be able to change its identity.
        presented = read_credential(request, form, address=address)
        if presented is None or presented.assertion is None:
            raise OAuthError("invalid_request", "client_assertion is missing.")
        admitted = await decide(services.store, lambda: admit_worker(services.admission, presented))
        await spend_everywhere(services.store, admitted.ticket)
        admitted = await services.identity_key_rotation.complete(admitted, address=address)
        admitted = services.admission.recheck(admitted)
        await services.identity_key_rotation.register_next(
            admitted.worker, _jwk(form.get("next_key", "")), address=address
        )
    except OAuthError as error:
        return oauth_error_response(error)
    except TooManyChangesError as error:
        return temporarily_unavailable(error.message, retry_after_s=error.wait_s)
    except ClientMetadataError as error:
        return oauth_error_response(OAuthError("invalid_request", error.message))
    except ConflictError as error:
        return oauth_error_response(OAuthError("invalid_request", f"next_key: {error.message}"))
    except RefusedError as refused:
        return await refused_signer(services, refused, address=address)
    return json_response({"registered": True})


def _jwk(text: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise OAuthError("invalid_request", "next_key must be a public key as a JWK.") from None
