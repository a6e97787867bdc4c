"""
Parses client metadata: what a client says about itself when it registers (RFC 7591, section 2).

Three groups of members:
  read     `client_name`, `jwks`, `labels`, `host`, `dpop_bound_access_tokens`, `copy_of`,
           and those that can have one value only:
           `token_endpoint_auth_method`, `token_endpoint_auth_signing_alg`, `grant_types`.
  refused  members for security features that this Server does not provide. Silent downgrade: if they were ignored, the
           client would rely on protection that is not there.
  ignored  all others: they describe the client.

A member that is null, false or empty counts as omitted (RFC 7592, section 2.2).
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import PublicIdentityKey, parse_public_jwk
from lyftdata.core.names import parse_labels, parse_worker_id, parse_worker_name
from lyftdata.core.records import Labels

T = TypeVar("T")

_INVALID = "invalid_client_metadata"
_AUTH_METHOD = "private_key_jwt"
_GRANT = "client_credentials"
_DPOP = "dpop_bound_access_tokens"
_NO_AUTHORIZATION_ENDPOINT = "must be omitted: there is no authorization endpoint"
_NO_CERTIFICATES = "must be omitted: client certificates are not supported; to bind tokens to a key, use DPoP"
_NOT_SIGNED = "must be omitted: introspection answers are not signed or encrypted"
# By member: the error (RFC 7591, section 3.2.2) and the rule. The values are never interpreted: fetching `jwks_uri` would be SSRF
# and would let the host of that URL replace the key later; a `software_statement` would need a trusted signer; a
# `client_secret` would be chosen by the client, and so guessable.
_REFUSED: Mapping[str, tuple[str, str]] = {
    "redirect_uris": ("invalid_redirect_uri", _NO_AUTHORIZATION_ENDPOINT),
    "response_types": (_INVALID, _NO_AUTHORIZATION_ENDPOINT),
    "require_signed_request_object": (_INVALID, _NO_AUTHORIZATION_ENDPOINT),
    "require_pushed_authorization_requests": (_INVALID, _NO_AUTHORIZATION_ENDPOINT),
    "software_statement": (
        "unapproved_software_statement",
        "must be omitted: software statements are not supported",
    ),
    "jwks_uri": (_INVALID, "must be omitted: send the public key itself in jwks"),
    "client_secret": (_INVALID, "must be omitted: the key in jwks is what the client authenticates with"),
    "scope": (_INVALID, "must be omitted: scopes are asked for with each token request"),
    "authorization_details_types": (_INVALID, "must be omitted: authorization_details is not supported"),
    "tls_client_certificate_bound_access_tokens": (_INVALID, _NO_CERTIFICATES),
    "tls_client_auth_subject_dn": (_INVALID, _NO_CERTIFICATES),
    "tls_client_auth_san_dns": (_INVALID, _NO_CERTIFICATES),
    "tls_client_auth_san_uri": (_INVALID, _NO_CERTIFICATES),
    "tls_client_auth_san_ip": (_INVALID, _NO_CERTIFICATES),
    "tls_client_auth_san_email": (_INVALID, _NO_CERTIFICATES),
    "introspection_signed_response_alg": (_INVALID, _NOT_SIGNED),
    "introspection_encrypted_response_alg": (_INVALID, _NOT_SIGNED),
    "introspection_encrypted_response_enc": (_INVALID, _NOT_SIGNED),
}


class ClientMetadataError(InvalidInputError):
    """
    A member of the client metadata breaks a rule; the message names both, in ASCII without quotes or backslashes.

    Args:
        member: The member, for example `client_name`.
        rule: What it must be.
        error: The error code of RFC 7591, section 3.2.2.
    """

    def __init__(self, member: str, rule: str, *, error: str = _INVALID) -> None:
        super().__init__(member, f"{member}: {rule}.")
        self.error: Final = error


class ClientMetadata(msgspec.Struct, frozen=True):
    """
    Checked metadata; None for a member that was not given.

    `host` is what the client says about its host: untrusted text. `copy_of` is the ID of the Worker whose identity this client says it
    has discarded: it must not take that Worker's name.
    """

    name: str
    labels: Labels | None
    public_key: PublicIdentityKey
    dpop_bound: bool | None
    copy_of: str | None = None
    host: Mapping[str, str] | None = None


def parse_client_metadata(unverified: Mapping[str, object]) -> ClientMetadata:
    """
    Parse client metadata.

    Raises:
        ClientMetadataError: A member breaks a rule, or asks for a feature that this Server does not provide.
    """
    given = {member: value for member, value in unverified.items() if not _is_empty(value)}
    # First: a request for an unsupported feature gets that answer, whatever else is wrong with it.
    for member, (error, rule) in _REFUSED.items():
        if member in given:
            raise ClientMetadataError(member, rule, error=error)
    _check_only(given, "token_endpoint_auth_method", _AUTH_METHOD, f"must be {_AUTH_METHOD}")
    _check_only(given, "grant_types", [_GRANT], f"must be {_GRANT} alone")
    key = _parse("jwks", lambda: parse_public_jwk(_only_key(given)))
    algorithm = given.get("token_endpoint_auth_signing_alg", key.algorithms[0])
    if algorithm not in key.algorithms:
        fitting = " or ".join(key.algorithms)
        raise ClientMetadataError("token_endpoint_auth_signing_alg", f"must be {fitting}, which fits the key")
    return ClientMetadata(
        name=_parse("client_name", lambda: parse_worker_name(_text(given, "client_name"))),
        labels=_labels(unverified),
        public_key=key,
        dpop_bound=_dpop_bound(unverified),
        copy_of=_parse("copy_of", lambda: parse_worker_id(_text(given, "copy_of")))
        if "copy_of" in given
        else None,
        host=_strings(unverified, "host"),
    )


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ("", [], {})


def _parse(member: str, parse: Callable[[], T]) -> T:
    """Parse a member; errors use its name on the wire."""
    try:
        return parse()
    except ClientMetadataError:
        raise
    except InvalidInputError as error:
        raise ClientMetadataError(member, error.message) from error


def _check_only(given: Mapping[str, object], member: str, allowed: object, rule: str) -> None:
    if given.get(member, allowed) != allowed:
        raise ClientMetadataError(member, rule)


def _text(given: Mapping[str, object], member: str) -> str:
    value = given.get(member)
    if not isinstance(value, str):
        raise ClientMetadataError(member, "must be given, as a string")
    return value


def _labels(unverified: Mapping[str, object]) -> Labels | None:
    value = _strings(unverified, "labels")
    return None if value is None else _parse("labels", lambda: parse_labels(value))


def _strings(unverified: Mapping[str, object], member: str) -> Mapping[str, str] | None:
    value = unverified.get(member)
    if value is None:
        return None
    if not isinstance(value, dict) or not all(
        isinstance(item, str) for pair in value.items() for item in pair
    ):
        raise ClientMetadataError(member, "must be an object of strings")
    return value


def _only_key(given: Mapping[str, object]) -> Mapping[str, object]:
    jwks = given.get("jwks")
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    # Key confusion: with several keys, `kid`, which the client chooses, would decide which key authenticates it.
    if not isinstance(keys, list) or len(keys) != 1 or not isinstance(keys[0], dict):
        raise ClientMetadataError("jwks", "must be a JWK Set with exactly one public key")
    return keys[0]


def _dpop_bound(unverified: Mapping[str, object]) -> bool | None:
    value = unverified.get(_DPOP)
    if value is not None and not isinstance(value, bool):
        raise ClientMetadataError(_DPOP, "must be true or false")
    return value
