"""
`/oauth2/register`: enrollment (RFC 7591), and management of a Worker's own entry (RFC 7592).
"""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.client_metadata import ClientMetadataError
from lyftdata.core.errors import ConflictError
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import (
    ApprovalDeniedError,
    ApprovalExpiredError,
    ApprovalQueueFullError,
    EnrollmentDisabledError,
    EnrollmentLimitedError,
    InvalidRegistrationError,
    NameInUseError,
    RefusedError,
    WrongEnrollmentKeyError,
)
from lyftdata.core.secret import Secret
from lyftdata.server.admission.dpop import DpopNonceError
from lyftdata.server.admission.enrollment_credentials import ProvedKey
from lyftdata.server.admission.self_management import TooManyChangesError
from lyftdata.server.api.bearer import nonce_response, verified_worker
from lyftdata.server.api.refusal_response import refusal_response
from lyftdata.server.http.authorization_header import bearer_token
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.freshness import decide
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.request_body import read_json
from lyftdata.server.http.responses import json_response, temporarily_unavailable
from lyftdata.server.runtime.services import Services

_STATUS: Mapping[type[RefusedError], int] = {
    NameInUseError: 409,
    ApprovalDeniedError: 403,
    ApprovalExpiredError: 403,
    ApprovalQueueFullError: 429,
}


def _error_of(refused: RefusedError) -> str:
    """Return the error for a caller with a valid enrollment key (RFC 7591, section 3.2.2; RFC 6749, section 4.1.2.1)."""
    match refused:
        case InvalidRegistrationError():
            return refused.error
        case ApprovalDeniedError() | ApprovalExpiredError():
            return "access_denied"
        case ApprovalQueueFullError():
            return "temporarily_unavailable"
        case _:
            return "invalid_client_metadata"


async def register(request: Request) -> Response:
    """Enroll a Worker (RFC 7591, section 3)."""
    services: Services = request.app.state.services
    address = client_address(request.scope)
    fingerprint = ""
    now_s = services.clock().timestamp()
    wait_s = services.enrollment_limit.wait_s(address, now_s)
    if wait_s is not None:
        return _rate_limited_response(services, address, wait_s)
    try:
        proved = await _check_credential(services, bearer_token(request), address=address, now_s=now_s)
        fingerprint = proved.fingerprint
        registration = services.enrollment.check_request(proved, await read_json(request), address=address)
        worker, created = await services.enrollment.enroll(registration, address=address)
        # Our agent authenticates with its own key and needs no token to manage itself. Third-party clients expect one; but a caller
        # that registers an already registered key has only proved that it knows that key, which is public.
        token = await services.registrations.issue_token(worker) if created and proved.proof is None else None
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        answer = services.refusals.record(refused, address=address, proved_by=fingerprint)
        return refusal_response(
            answer,
            error="invalid_token",
            status=401,
            proved_error=_error_of(refused),
            proved_status=_STATUS.get(type(refused), 400),
            nonce=services.nonces.for_enrollment(),
        )
    if created:
        services.metrics.enrolled(against_rules=bool(registration.broken))
    return json_response(_information(services, worker, token), status=201)


async def _check_credential(
    services: Services, unverified_credential: str, *, address: str, now_s: float
) -> ProvedKey:
    """
    Check the initial access token; before refusing a key that a peer may have just issued, read its changes.

    Raises:
        RefusedError: From `Enrollment.check_credential`.
        StoreError: The database cannot be queried.
    """
    try:
        return services.enrollment.check_credential(unverified_credential)
    except (WrongEnrollmentKeyError, EnrollmentDisabledError):
        # Guessing: there must be no await between the check of the limit and this count, or many guesses sent at once would not be counted.
        services.enrollment_limit.record_wrong_key(address, now_s)
        if not services.store.is_shared or not services.enrollment.names_a_key(unverified_credential):
            raise
    # Enumeration by timing: this is done for existing and for unknown key IDs.
    await services.store.refresh(full=True)
    return services.enrollment.check_credential(unverified_credential)


def _rate_limited_response(services: Services, address: str, wait_s: float) -> Response:
    """Return 429 without reading credential or body, so that the response does not distinguish a right key from a wrong one."""
    answer = services.refusals.record_unchecked(
        EnrollmentLimitedError(), address=address, retry_after_s=wait_s
    )
    return refusal_response(
        answer, error="invalid_token", status=401, proved_error="access_denied", proved_status=403
    )


async def manage(request: Request) -> Response:  # noqa: PLR0911 - an answer a kind of end
    """Read (GET), rotate the key of (PUT) or remove (DELETE) the caller's own entry (RFC 7592, section 2)."""
    services: Services = request.app.state.services
    address = client_address(request.scope)
    worker_id = str(request.path_params["worker_id"])
    try:
        # The body first: there must be no await between identifying the caller and the action.
        metadata = await read_json(request) if request.method == "PUT" else {}
        worker = await _manager(services, request, worker_id)
        match request.method:
            case "PUT":
                worker, token = await services.registrations.rotate_key(worker, metadata, address=address)
                return json_response(_information(services, worker, token))
            case "DELETE":
                await services.registrations.retire(worker, address=address)
                return Response(status_code=204, headers={"Cache-Control": "no-store"})
            case _:
                return json_response(_information(services, worker, _registration_token(request)))
    except DpopNonceError:
        return nonce_response(services)
    except TooManyChangesError as error:
        return temporarily_unavailable(error.message, retry_after_s=error.wait_s)
    except ClientMetadataError as error:
        return oauth_error_response(OAuthError(error.error, error.message))
    except ConflictError as error:
        return oauth_error_response(OAuthError("invalid_client_metadata", f"jwks: {error.message}"))
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        answer = services.refusals.record(refused, address=address)
        return refusal_response(
            answer, error="invalid_token", status=401, proved_error="access_denied", proved_status=403
        )


async def _manager(services: Services, request: Request, worker_id: str) -> WorkerRecord:
    """Return the entry if the caller is that Worker: with its registration access token, or with a worker token."""
    token = _registration_token(request)
    if token is not None:
        return await decide(services.store, lambda: services.registrations.check_token(worker_id, token))
    return services.registrations.require_own_entry(
        await verified_worker(request, services), worker_id, to_change=request.method != "GET"
    )


def _registration_token(request: Request) -> Secret | None:
    """Return the registration access token of a request; None if it has another credential."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    is_one = scheme.lower() == "bearer" and credential.strip().startswith("lyftdata_registration_")
    return Secret(bearer_token(request)) if is_one else None


def _information(services: Services, worker: WorkerRecord, token: Secret | None) -> dict[str, object]:
    """Return the client information response (RFC 7591, section 3.2.1)."""
    information: dict[str, object] = {
        "client_id": worker.id,
        "client_id_issued_at": int(worker.created_at.timestamp()),
        "client_name": worker.name,
        "jwks": {"keys": [msgspec.json.decode(worker.public_jwk or "{}")]},
        "token_endpoint_auth_method": "private_key_jwt",
        "grant_types": ["client_credentials"],
        "response_types": [],
        "dpop_bound_access_tokens": worker.dpop_bound,
        "labels": worker.labels,
        "ephemeral": worker.ephemeral,
    }
    if token is not None:
        information["registration_access_token"] = token.reveal()
        information["registration_client_uri"] = f"{services.issuer}/oauth2/register/{worker.id}"
    return information
