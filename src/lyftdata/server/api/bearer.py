"""Identifies the Worker behind the token of a request: a bearer token, or a bound one with its proof (RFC 9449)."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.dpop import ALGORITHMS, DpopProofError
from lyftdata.core.refusals import MissingCredentialsError, RefusedError, WrongTokenError
from lyftdata.server.admission.replay import spend_everywhere
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.http.authorization_header import bearer_token, header_values
from lyftdata.server.http.freshness import decide, ensure_current, is_conclusive
from lyftdata.server.http.responses import NO_STORE, json_response
from lyftdata.server.runtime.services import Services


def nonce_response(services: Services) -> Response:
    """Return 401 with a nonce for a new proof (RFC 9449, section 9)."""
    algorithms = " ".join(ALGORITHMS)
    headers = {
        "WWW-Authenticate": f'DPoP error="use_dpop_nonce", algs="{algorithms}"',
        "DPoP-Nonce": services.dpop.nonce(),
    }
    body = {
        "error": "use_dpop_nonce",
        "error_description": "Retry with a new proof that has the nonce of this response.",
    }
    return json_response(body, status=401, headers={**NO_STORE, **headers})


async def verified_worker(
    request: Request, services: Services, *, proved_for: Callable[[str], tuple[str, str]] | None = None
) -> VerifiedWorker:
    """
    Return the Worker whose token a request carries, in its state when this returns.

    Args:
        request: Carries the token in its Authorization header.
        services: The Server's parts.
        proved_for: Returns the method and URL that a proof must be for, or raises RefusedError; takes the ID of the Worker in
         the token. By default, those of the request itself.

    Raises:
        RefusedError: No token, or an invalid one.
        DpopNonceError: Its proof has an old nonce; `nonce_response` tells the client how to continue.
    """
    values = header_values(request, b"authorization")
    if not values or values[0].partition(b" ")[0].lower() != b"dpop":
        bearer = bearer_token(request)
        await ensure_current(services.store)
        try:
            return services.verifier.verify(bearer)
        except RefusedError as refused:
            if is_conclusive(services.store, refused):
                raise
        await services.store.refresh(full=True)
        return services.verifier.verify(bearer)
    token = values[0].decode("latin-1").partition(" ")[2]
    proofs = request.headers.getlist("dpop")
    token = token.strip()
    if not token or len(proofs) != 1 or len(values) != 1:
        raise MissingCredentialsError
    found = await decide(services.store, lambda: services.verifier.verify_any_audience(token))
    worker_id = found.worker.id
    method, url = request.method, f"{services.issuer}{request.scope['path']}"
    if proved_for is not None:
        method, url = await decide(services.store, lambda: proved_for(worker_id))
    try:
        proof = services.dpop.check(proofs[0], method=method, url=url, access_token=token)
        verified = await decide(
            services.store, lambda: services.verifier.verify(token, bound_to=proof.thumbprint)
        )
        ticket = services.dpop.spend(proof, worker=verified.worker)
    except DpopProofError as error:
        # Without the query, in which clients send secrets.
        asked = f"{method} {url.partition('?')[0]}"
        raise WrongTokenError(
            f"Its proof of possession, for {asked}: {error}", claimed_worker=worker_id
        ) from error
    if ticket is not None:
        await spend_everywhere(services.store, ticket)
        # TOCTOU: a Worker that was disabled during the wait must not be admitted.
        verified = services.verifier.verify(token, bound_to=proof.thumbprint)
    return verified
