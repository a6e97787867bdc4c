"""Serves the metadata that a client needs to be a Worker: RFC 8414, OpenID Connect discovery, the JWK Set."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.discovery import server_metadata
from lyftdata.server.http.published import published
from lyftdata.server.runtime.services import Services


async def authorization_server(request: Request) -> Response:
    """Answer `/.well-known/oauth-authorization-server`."""
    services: Services = request.app.state.services
    return _published_json(request, server_metadata(services.issuer, services.previous_issuers))


async def openid_configuration(request: Request) -> Response:
    """Answer `/.well-known/openid-configuration`, for clients that only look there; there are no ID tokens."""
    services: Services = request.app.state.services
    signing = {key.algorithm for key in services.signing_keys.verification_keys.values()}
    extra = {
        "subject_types_supported": ["public"],
        # Verifiers read the algorithms of access tokens from here. RS256 must be among them (OpenID Connect Discovery,
        # section 3), although no published key can make such a signature.
        "id_token_signing_alg_values_supported": sorted(signing | {"RS256"}),
        # The default is true.
        "request_uri_parameter_supported": False,
    }
    return _published_json(request, server_metadata(services.issuer, services.previous_issuers) | extra)


async def jwks(request: Request) -> Response:
    """Answer `/.well-known/jwks.json`: every key that may have signed an unexpired token, and the next one."""
    services: Services = request.app.state.services
    return published(request, services.signing_keys.jwks, media_type="application/jwk-set+json")


async def audit_key(request: Request) -> Response:
    """Answer `/.well-known/lyftdata-audit-key`: the key that checks checkpoints of the audit log (C2SP signed-note)."""
    # Not in the JWK Set: a service that verifies tokens with that must not accept what this key has signed.
    services: Services = request.app.state.services
    return published(request, f"{services.checkpoints.published_key}\n".encode(), media_type="text/plain")


def _published_json(request: Request, members: dict[str, object]) -> Response:
    return published(request, msgspec.json.encode(members), media_type="application/json")
