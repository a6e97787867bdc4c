"""What a client needs to know to be a Worker: RFC 8414 metadata, OpenID Connect discovery, the JWK Set."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.dpop import ALGORITHMS
from lyftdata.server.published import published
from lyftdata.server.services import Services

_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


def metadata(issuer: str) -> dict[str, object]:
    """
    Return the authorization server metadata (RFC 8414, section 2).

    Many clients read it with OpenID Connect's rules, by which there must be an authorization endpoint and at least one
    response type, also where they ask for nothing but `client_credentials`. So there is an endpoint that refuses every
    request, and the response type is the one with which it would give nothing out (OAuth 2.0 Multiple Response Types, 4).
    """
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth2/authorize",
        "token_endpoint": f"{issuer}/oauth2/token",
        "registration_endpoint": f"{issuer}/oauth2/register",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": _METHODS,
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint": f"{issuer}/oauth2/introspect",
        "introspection_endpoint_auth_methods_supported": _METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint": f"{issuer}/oauth2/revoke",
        "revocation_endpoint_auth_methods_supported": _METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
    }


async def authorization_server(request: Request) -> Response:
    """Answer `/.well-known/oauth-authorization-server`."""
    services: Services = request.app.state.services
    return _published_json(request, metadata(services.issuer))


async def openid_configuration(request: Request) -> Response:
    """Answer `/.well-known/openid-configuration`, for clients that look nowhere else; there are no ID tokens."""
    services: Services = request.app.state.services
    signing = {key.algorithm for key in services.signing_keys.verification_keys.values()}
    extra = {
        "subject_types_supported": ["public"],
        # Checkers take from here what may sign an access token. RS256 must be among them (OpenID Connect Discovery,
        # section 3); no published key could have made such a signature.
        "id_token_signing_alg_values_supported": sorted(signing | {"RS256"}),
        # Its default is true.
        "request_uri_parameter_supported": False,
    }
    return _published_json(request, metadata(services.issuer) | extra)


async def jwks(request: Request) -> Response:
    """Answer `/.well-known/jwks.json`: every key that may have signed a living token, and the next one."""
    services: Services = request.app.state.services
    return published(request, services.signing_keys.jwks, media_type="application/jwk-set+json")


def _published_json(request: Request, members: dict[str, object]) -> Response:
    return published(request, msgspec.json.encode(members), media_type="application/json")
