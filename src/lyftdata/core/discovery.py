"""Builds the documents that a Server publishes about itself: RFC 8414 metadata and the JWK Set."""

from collections.abc import Iterable, Sequence

import msgspec

from lyftdata.core.dpop import ALGORITHMS
from lyftdata.core.keyring import SigningKey

# Short enough that verifiers see a new key before its first use, long enough to keep load off the Server.
PUBLISHED_MAX_AGE_S = 300
_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


def server_metadata(issuer: str, previous_issuers: Sequence[str] = ()) -> dict[str, object]:
    """
    Return the authorization server metadata (RFC 8414, section 2).

    Many clients apply OpenID Connect's rules to it: there must be an authorization endpoint and at least one response type, even
    if they use nothing but `client_credentials`. So there is an endpoint that refuses every request, and the response type is
    `none`, which returns no token (OAuth 2.0 Multiple Response Types, section 4).
    """
    # A Worker that gets the new address reads this before it signs for that address (docs/decisions/0021).
    previous = {"lyftdata_previous_issuers": list(previous_issuers)} if previous_issuers else {}
    return previous | {
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


def jwk_set(keys: Iterable[SigningKey]) -> bytes:
    """Return the JWK Set (RFC 7517, section 5) of the keys that sign now, signed tokens that may still be valid, or will sign next."""
    return msgspec.json.encode({"keys": [key.public_jwk() for key in keys]})
