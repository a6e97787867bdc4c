"""`POST /oauth2/token`: exchanges a Worker's credential for a worker token (RFC 6749, section 4.4)."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.dpop import DpopProofError
from lyftdata.core.grants import GRANT_ERRORS, Grant
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import (
    ApprovalDeniedError,
    ApprovalExpiredError,
    AwaitingApprovalError,
    DpopProofMissingError,
    IdentityClonedError,
    RefusedError,
)
from lyftdata.core.token_answers import TokenAnswer
from lyftdata.server.admission.client_authentication import admit_worker
from lyftdata.server.admission.dpop import DpopNonceError
from lyftdata.server.admission.refusal_log import PublicRefusal
from lyftdata.server.admission.replay import Ticket, spend_everywhere
from lyftdata.server.admission.token_issuer import Admitted
from lyftdata.server.api.approval_wait import awaiting_approval_response
from lyftdata.server.api.client_credential import read_credential
from lyftdata.server.api.refusal_response import refusal_response
from lyftdata.server.api.token_request import TokenRequest, read_token_request
from lyftdata.server.http.authorization_header import header_values
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.freshness import decide
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.request_body import read_form
from lyftdata.server.http.responses import NO_STORE_JSON, RawResponse, json_response
from lyftdata.server.http.whole_answer import Head
from lyftdata.server.runtime.services import Services

# RFC 8707, section 2, RFC 6749, section 5.2, RFC 9449, section 5, and RFC 8628, section 3.5: the errors for a Worker that has
# proved its key.
_ERRORS: Mapping[type[RefusedError], str] = {
    **GRANT_ERRORS,
    DpopProofMissingError: "invalid_dpop_proof",
    ApprovalDeniedError: "access_denied",
    ApprovalExpiredError: "expired_token",
}
_encoder = msgspec.json.Encoder()


async def token(request: Request) -> Response:
    """Exchange a Worker's credential for a worker token, bound to its key if it proves one (RFC 9449)."""
    services: Services = request.app.state.services
    address = client_address(request.scope)
    try:
        form = await read_form(request)
        asked_for = read_token_request(form)
        presented = read_credential(request, form, address=address)
        admitted = await decide(services.store, lambda: admit_worker(services.admission, presented))
        grant = _grant(services, admitted, asked_for)
        bound_to, ticket = _check_dpop(request, services, admitted.worker)
        if admitted.ticket is not None or ticket is not None or admitted.completes_rotation:
            await spend_everywhere(services.store, admitted.ticket)
            await spend_everywhere(services.store, ticket)
            # The first use of the next key ends the current one, before a token is issued for it.
            admitted = await services.identity_key_rotation.complete(admitted, address=address)
            # TOCTOU: services that verify offline would accept the token until it expires.
            admitted = services.admission.recheck(admitted)
            grant = _grant(services, admitted, asked_for)
        signed = services.admission.mint(admitted, grant, bound_to=bound_to)
    except DpopNonceError as error:
        asked_again = OAuthError(error.code, error.message)
        return oauth_error_response(asked_again, headers={"DPoP-Nonce": services.dpop.nonce()})
    except DpopProofError as error:
        return oauth_error_response(OAuthError("invalid_dpop_proof", str(error)))
    except OAuthError as error:
        return oauth_error_response(error)
    except AwaitingApprovalError as refused:
        return await awaiting_approval_response(request, services, refused)
    except RefusedError as refused:
        return await refused_signer(services, refused, address=address)
    services.issued_tokens.record(admitted, audience=grant.audience, address=address)
    if admitted.worker.archived_at is not None:
        services.worker_archive.note_active(admitted.worker.id)
    answer = TokenAnswer(
        access_token=signed,
        token_type="Bearer" if bound_to is None else "DPoP",
        expires_in=services.settings.worker_token_ttl_s,
        scope=grant.scope,
    )
    head = NO_STORE_JSON
    if bound_to is not None:
        head = Head(*head.fields, (b"dpop-nonce", services.dpop.nonce().encode()))
    return RawResponse(200, head, _encoder.encode(answer))


def refused_client(services: Services, refused: RefusedError, *, address: str) -> Response:
    """
    Record a refusal at an endpoint at which clients authenticate, and return what the client may know about it.

    The response has a nonce: a Worker whose assertion was too old, or signed with a wrong clock, signs again with it.
    """
    return _refusal_response(services, refused, services.refusals.record(refused, address=address))


async def refused_signer(services: Services, refused: RefusedError, *, address: str) -> Response:
    """Do the same as `refused_client` for a Worker that may have signed; a copy of its identity is recorded before it learns that."""
    if not isinstance(refused, IdentityClonedError):
        return refused_client(services, refused, address=address)
    cause = await services.identity_copies.cause_for(refused)
    answer = services.refusals.record(cause, address=address)
    await services.identity_copies.record(refused, reference=answer.reference)
    return _refusal_response(services, cause, answer)


def _refusal_response(services: Services, refused: RefusedError, answer: PublicRefusal) -> Response:
    claimed_worker = refused.claimed_worker
    nonce = services.nonces.for_assertion(claimed_worker, services.directory.find_worker(claimed_worker))
    return refusal_response(
        answer,
        error="invalid_client",
        status=401,
        proved_error=_ERRORS.get(type(refused), "unauthorized_client"),
        proved_status=400,
        nonce=nonce,
    )


async def nonce(request: Request) -> Response:
    """Return a nonce to a Worker that needs one because its clock is wrong. The caller is not authenticated."""
    services: Services = request.app.state.services
    try:
        client_id = (await read_form(request)).get("client_id", "")
    except OAuthError as error:
        return oauth_error_response(error)
    worker = services.directory.find_worker(client_id)
    return json_response({"nonce": services.nonces.for_assertion(client_id, worker)})


def _grant(services: Services, admitted: Admitted, asked_for: TokenRequest) -> Grant:
    return services.admission.grant(admitted.worker, resource=asked_for.resource, scope=asked_for.scope)


def _check_dpop(
    request: Request, services: Services, worker: WorkerRecord
) -> tuple[str | None, Ticket | None]:
    """
    Return the thumbprint of the key that the client has proved (RFC 9449, section 5), None if it sent no proof.

    Also returns what must be marked as used at peers.
    """
    proofs = header_values(request, b"dpop")
    if not proofs:
        if worker.dpop_bound:
            raise DpopProofMissingError(claimed_worker=worker.id)
        return None, None
    if len(proofs) > 1:
        raise DpopProofError("One proof is enough.")
    url = f"{services.issuer}/oauth2/token"
    proof = services.dpop.check(proofs[0].decode("latin-1"), method="POST", url=url, needs_nonce=True)
    return proof.thumbprint, services.dpop.spend(proof, worker=worker)
