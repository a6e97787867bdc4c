"""`POST /oauth2/token` and `POST /oauth2/register`."""

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.assertions import unsafe_peek_client_id
from lyftdata.core.refusals import MissingCredentialsError, NameInUseError, RefusedError
from lyftdata.core.secret import Secret
from lyftdata.server.admission import Admitted
from lyftdata.server.services import Services
from lyftdata.server.wire import (
    OAuthError,
    basic_credentials,
    bearer_token,
    client_address,
    json_response,
    oauth_error_response,
    read_form,
    read_json,
    refusal_response,
)

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def token(request: Request) -> Response:
    """Exchange a Worker's credential for a worker token (RFC 6749, section 4.4)."""
    services: Services = request.app.state.services
    address = client_address(request.scope)
    try:
        basic = basic_credentials(request)
        form = await read_form(request)
        _check_grant(form, issuer=services.issuer)
    except OAuthError as error:
        return oauth_error_response(error)
    try:
        admitted = _admit(services, basic, form)
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        refused.claimed_worker = refused.claimed_worker or _claimed(basic, form)
        answer = services.refusals.record(refused, address=address)
        return refusal_response(
            answer, error="invalid_client", status=401, proved_error="unauthorized_client", proved_status=400
        )
    signed = services.admission.mint(admitted)
    _note(services, admitted)
    return json_response(
        {"access_token": signed, "token_type": "Bearer", "expires_in": services.settings.worker_token_ttl_s}
    )


def _check_grant(form: dict[str, str], *, issuer: str) -> None:
    grant_type = form.get("grant_type")
    if not grant_type:
        raise OAuthError("invalid_request", "grant_type is missing.")
    if grant_type != "client_credentials":
        raise OAuthError("unsupported_grant_type", "grant_type must be client_credentials.")
    if form.get("scope"):
        raise OAuthError("invalid_scope", "This Server grants no scopes.")
    # RFC 8707: a token for someone else is not given in the place of one for this Server.
    if form.get("resource", issuer).rstrip("/") != issuer:
        raise OAuthError("invalid_target", "This Server gives tokens for itself only.")


def _admit(services: Services, basic: tuple[str, str] | None, form: dict[str, str]) -> Admitted:
    """Find the one way in which the client authenticates (RFC 6749, section 2.3: not more than one)."""
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
        return services.admission.admit_api_key(basic[0], Secret(basic[1]))
    if secret is not None and client_id is not None:
        return services.admission.admit_api_key(client_id, Secret(secret))
    if assertion is not None:
        return _admit_assertion(services, client_id, form.get("client_assertion_type"), assertion)
    raise MissingCredentialsError


def _admit_assertion(services: Services, client_id: str | None, kind: str | None, assertion: str) -> Admitted:
    if kind != ASSERTION_TYPE:
        raise OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}.")
    # Only to find the entry whose key then checks it; a lie here fails that check.
    claimed = unsafe_peek_client_id(assertion) or ""
    if client_id not in {None, claimed}:
        raise OAuthError("invalid_request", "client_id is not that of the assertion.")
    return services.admission.admit_assertion(claimed, assertion)


def _claimed(basic: tuple[str, str] | None, form: dict[str, str]) -> str:
    if basic is not None:
        return basic[0]
    return form.get("client_id") or unsafe_peek_client_id(form.get("client_assertion", "")) or ""


def _note(services: Services, admitted: Admitted) -> None:
    """Leave traces and count; nothing here is written before the answer."""
    services.metrics.token_signed(admitted.worker.strategy)
    if admitted.api_key is not None:
        services.traces.key_used(admitted.api_key.public_id, admitted.worker.id, at=services.clock())


async def register(request: Request) -> Response:
    """Enroll a Worker (RFC 7591, section 3)."""
    services: Services = request.app.state.services
    address = client_address(request.scope)
    fingerprint = ""
    try:
        fingerprint, proof = services.enrollment.check_credential(bearer_token(request))
        registration = services.enrollment.check_request(fingerprint, proof, await read_json(request))
        worker, created = await services.enrollment.enroll(registration, address=address)
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        answer = services.refusals.record(refused, address=address, proved_by=fingerprint)
        return refusal_response(
            answer,
            error="invalid_token",
            status=401,
            proved_error="invalid_client_metadata",
            proved_status=409 if isinstance(refused, NameInUseError) else 400,
        )
    if created:
        services.metrics.enrolled()
    return json_response(
        {
            "client_id": worker.id,
            "client_id_issued_at": int(worker.created_at.timestamp()),
            "client_name": worker.name,
            "jwks": {"keys": [registration.public_key.as_dict()]},
            "token_endpoint_auth_method": "private_key_jwt",
            "grant_types": ["client_credentials"],
            "labels": worker.labels,
        },
        status=201,
    )
