"""`POST /oauth2/introspect` (RFC 7662) and `POST /oauth2/revoke` (RFC 7009)."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.records import ResourceRecord
from lyftdata.core.refusals import RefusedError
from lyftdata.core.resources import is_granted
from lyftdata.core.token_answers import introspection_answer
from lyftdata.server.admission.client_authentication import admit_caller, admit_worker
from lyftdata.server.admission.replay import spend_everywhere
from lyftdata.server.admission.self_management import TooManyChangesError
from lyftdata.server.admission.token_issuer import Admitted
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.api.client_credential import read_credential
from lyftdata.server.api.oauth_token import refused_signer
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.freshness import decide
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.request_body import read_form
from lyftdata.server.http.responses import json_response, temporarily_unavailable
from lyftdata.server.runtime.services import Services


async def introspect(request: Request) -> Response:
    """
    Return the current state of a token, to the resource it is for or to the Worker it belongs to.

    Any other caller, and any other token, gets "not active" (RFC 7662, section 2.2).
    """
    services: Services = request.app.state.services
    try:
        form = await _authenticated_form(request)
        presented = read_credential(request, form, address=client_address(request.scope))
        caller = await decide(services.store, lambda: admit_caller(services.admission, presented))
        if isinstance(caller, Admitted):
            await spend_everywhere(services.store, caller.ticket)
            caller = await services.identity_key_rotation.complete(
                caller, address=client_address(request.scope)
            )
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        return await refused_signer(services, refused, address=client_address(request.scope))
    verified = await _verified(services, form["token"])
    if verified is None or not _may_know(services, caller, verified):
        return json_response({"active": False})
    return json_response(_described(services, verified))


def _may_know(services: Services, caller: Admitted | ResourceRecord, verified: VerifiedWorker) -> bool:
    if isinstance(caller, Admitted):
        return caller.worker.id == verified.worker.id and _still_granted(services, verified)
    return verified.claims.aud == caller.audience and is_granted(caller, verified.worker)


def _still_granted(services: Services, verified: VerifiedWorker) -> bool:
    audience = verified.claims.aud
    if audience in {services.issuer, *services.previous_issuers}:
        return True
    resource = services.directory.find_resource(audience=str(audience))
    return resource is not None and is_granted(resource, verified.worker)


def _described(services: Services, verified: VerifiedWorker) -> dict[str, object]:
    claims, worker = verified.claims, verified.worker
    resource = services.directory.find_resource(audience=str(claims.aud))
    # A scope removed from the resource since is no longer granted, whatever the token says.
    scopes = [s for s in claims.scope.split() if resource is not None and s in resource.scopes]
    return introspection_answer(claims, worker=worker, scopes=scopes)


async def revoke(request: Request) -> Response:
    """Revoke one of the Worker's own tokens; the response is the same for others' tokens and text that is not a token (RFC 7009, section 2.2)."""
    services: Services = request.app.state.services
    try:
        form = await _authenticated_form(request)
        presented = read_credential(request, form, address=client_address(request.scope))
        admitted = await decide(services.store, lambda: admit_worker(services.admission, presented))
        await spend_everywhere(services.store, admitted.ticket)
        admitted = await services.identity_key_rotation.complete(
            admitted, address=client_address(request.scope)
        )
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        return await refused_signer(services, refused, address=client_address(request.scope))
    verified = await _verified(services, form["token"])
    if verified is not None and verified.worker.id == admitted.worker.id:
        try:
            await services.registrations.revoke_token(
                verified.worker, verified.claims, address=client_address(request.scope)
            )
        except TooManyChangesError as error:
            return temporarily_unavailable(error.message, retry_after_s=error.wait_s)
    return Response(status_code=200, headers={"Cache-Control": "no-store"})


async def _authenticated_form(request: Request) -> Mapping[str, str]:
    form = await read_form(request)
    if not form.get("token"):
        raise OAuthError("invalid_request", "token is missing.")
    return form


async def _verified(services: Services, unverified_token: str) -> VerifiedWorker | None:
    try:
        return await decide(services.store, lambda: services.verifier.verify_any_audience(unverified_token))
    except RefusedError:
        # Not a refusal: it was not an attempt to authenticate.
        return None
