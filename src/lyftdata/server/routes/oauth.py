"""`POST /oauth2/token`: a Worker's credential for a worker token (RFC 6749, section 4.4)."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.refusals import RefusedError, ResourceNotGrantedError, ScopeNotGrantedError
from lyftdata.server.admission import Admitted
from lyftdata.server.client_auth import admit_worker, read_credential
from lyftdata.server.dpop import DpopNonceError
from lyftdata.server.refusal_log import Answer
from lyftdata.server.replay import Ticket, spend_everywhere
from lyftdata.server.services import Services
from lyftdata.server.up_to_date import decide
from lyftdata.server.wire import (
    NO_STORE,
    OAuthError,
    basic_credentials,
    client_address,
    json_response,
    oauth_error_response,
    read_form,
    refusal_response,
)

# RFC 8707, section 2, and RFC 6749, section 5.2: what a Worker that has proved its key reads of these.
_ERRORS: Mapping[type[RefusedError], str] = {
    ResourceNotGrantedError: "invalid_target",
    ScopeNotGrantedError: "invalid_scope",
}


async def token(request: Request) -> Response:
    """Exchange a Worker's credential for a worker token, bound to its key if it proves one (RFC 9449)."""
    services: Services = request.app.state.services
    try:
        basic = basic_credentials(request)
        form = await read_form(request)
        _check_grant_type(form)
        presented = read_credential(basic, form)
        admitted = await decide(services.store, lambda: admit_worker(services.admission, presented))
        grant = services.admission.grant(
            admitted.worker, resource=form.get("resource", ""), scope=form.get("scope", "")
        )
        bound_to, ticket = _check_dpop(request, services, worker_id=admitted.worker.id)
        if services.store.is_shared:
            await spend_everywhere(services.store, admitted.ticket, claimed_worker=admitted.worker.id)
            await spend_everywhere(services.store, ticket, claimed_worker=admitted.worker.id)
    except DpopNonceError as error:
        return oauth_error_response(error, headers={"DPoP-Nonce": services.dpop.nonce()})
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        answer = services.refusals.record(refused, address=client_address(request.scope))
        return refused_client(answer)
    signed = services.admission.mint(admitted, grant, bound_to=bound_to)
    _note(services, admitted)
    body = {
        "access_token": signed,
        "token_type": "Bearer" if bound_to is None else "DPoP",
        "expires_in": services.settings.worker_token_ttl_s,
    }
    headers = NO_STORE if bound_to is None else {**NO_STORE, "DPoP-Nonce": services.dpop.nonce()}
    return json_response(body | ({"scope": grant.scope} if grant.scope else {}), headers=headers)


def refused_client(answer: Answer) -> Response:
    """Return what a client may know of a refusal at an endpoint at which it authenticates itself."""
    return refusal_response(
        answer,
        error="invalid_client",
        status=401,
        proved_error=_ERRORS.get(type(answer.refused), "unauthorized_client"),
        proved_status=400,
    )


def _check_grant_type(form: Mapping[str, str]) -> None:
    grant_type = form.get("grant_type")
    if not grant_type:
        raise OAuthError("invalid_request", "grant_type is missing.")
    if grant_type != "client_credentials":
        raise OAuthError("unsupported_grant_type", "grant_type must be client_credentials.")


def _check_dpop(request: Request, services: Services, *, worker_id: str) -> tuple[str | None, Ticket | None]:
    """
    Return the thumbprint of the key that the client has proved (RFC 9449, section 5), None if it shows none.

    And what is to be used up at other Servers.
    """
    proofs = request.headers.getlist("dpop")
    if not proofs:
        return None, None
    if len(proofs) > 1:
        raise OAuthError("invalid_dpop_proof", "One proof is enough.")
    url = f"{services.issuer}/oauth2/token"
    proof = services.dpop.check(proofs[0], method="POST", url=url, needs_nonce=True)
    return proof.thumbprint, services.dpop.spend(proof, worker_id=worker_id)


def _note(services: Services, admitted: Admitted) -> None:
    """Leave traces and count; nothing here is written before the answer."""
    services.metrics.token_signed(admitted.worker.strategy)
    if admitted.api_key is not None:
        services.traces.key_used(admitted.api_key.public_id, admitted.worker.id, at=services.clock())
