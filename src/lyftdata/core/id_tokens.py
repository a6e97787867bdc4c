"""
Checks the tokens of an OpenID Connect issuer: ID tokens and logout tokens.

The issuer is another service, where operators sign in (docs/decisions/0039). Nothing here does I/O: the caller fetches the
issuer's keys and passes the time.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from lyftdata.core._jose import JwsError, UnverifiedJws, audience_claim, int_claim, text_claim
from lyftdata.core.encoding import base64url, decode_base64url

LEEWAY_S = 60
MAX_ID_TOKEN_LENGTH = 32_768
MAX_SUBJECT_LENGTH = 255
_MAX_AGE_S = 600
_MAX_KEYS = 50
_MIN_RSA_BITS = 2048
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

# By type of key. Algorithm confusion: neither `none` nor any HMAC is here, so a public key is never used as a shared secret.
_EC_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ED25519_ALGORITHMS = frozenset({"EdDSA", "Ed25519"})


class IdTokenError(Exception):
    """A token of the issuer was rejected; the text is for operators."""


class UnknownKeyError(IdTokenError):
    """The token names a key that is not known: the issuer may have rotated its keys."""


class IssuerKey(msgspec.Struct, frozen=True):
    """A public key of the issuer, and the algorithms that it may be used with."""

    kid: str | None
    key: ECKey | OKPKey | RSAKey
    algorithms: frozenset[str]


class Identity(msgspec.Struct, frozen=True):
    """Who an ID token is about: the issuer and its subject, and the session there (`sid`), if it names one."""

    issuer: str
    subject: str
    session: str | None
    claims: Mapping[str, Any]


class Logout(msgspec.Struct, frozen=True):
    """What a logout token ends: one session at the issuer, or every session of a subject."""

    issuer: str
    subject: str | None
    session: str | None
    jti: str
    expires_at_s: int


def read_keys(jwks: Mapping[str, Any]) -> tuple[IssuerKey, ...]:
    """Return the public signature keys of a key set (RFC 7517); other keys are ignored."""
    listed = jwks.get("keys")
    if not isinstance(listed, list):
        return ()
    return tuple(_usable_keys(listed[:_MAX_KEYS]))


def _usable_keys(listed: Iterable[object]) -> Iterable[IssuerKey]:
    for jwk in listed:
        # Key separation: a key for encryption must not check signatures (RFC 7517, section 4.2).
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
            continue
        try:
            if _is_short(jwk):
                continue
            key = import_key(jwk)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        algorithms = _algorithms_of(key)
        if jwk.get("alg") is not None:
            algorithms &= {str(jwk["alg"])}
        if algorithms and isinstance(key, ECKey | OKPKey | RSAKey):
            kid = jwk.get("kid")
            yield IssuerKey(kid if isinstance(kid, str) else None, key, algorithms)


def _is_short(jwk: Mapping[str, Any]) -> bool:
    """Return whether an RSA key is too short to be safe; checked before the import, which would only warn."""
    modulus = decode_base64url(str(jwk["n"])) if jwk.get("kty") == "RSA" else b""
    return bool(modulus) and int.from_bytes(modulus).bit_length() < _MIN_RSA_BITS


def _algorithms_of(key: object) -> frozenset[str]:
    if isinstance(key, RSAKey):
        return _RSA_ALGORITHMS
    if isinstance(key, ECKey):
        return frozenset({_EC_ALGORITHMS[key.curve_name]} if key.curve_name in _EC_ALGORITHMS else ())
    if isinstance(key, OKPKey) and key.curve_name == "Ed25519":
        return _ED25519_ALGORITHMS
    # A shared secret in a public key set is no secret.
    return frozenset()


def check_id_token(
    unverified_token: str,
    *,
    keys: tuple[IssuerKey, ...],
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str | None,
    now: datetime,
) -> Identity:
    """
    Check an ID token (OpenID Connect Core 1.0, section 3.1.3.7).

    Args:
        unverified_token: As received from the token endpoint.
        keys: The issuer's keys.
        issuer: The one accepted issuer, compared exactly.
        client_id: The ID of this Server at the issuer.
        nonce: As sent with the authorization request of this sign-in.
        access_token: The access token sent with it; compared if the ID token has `at_hash`.
        now: Aware UTC time.

    Raises:
        UnknownKeyError: The keys may be out of date.
        IdTokenError: Anything else that is wrong.
    """
    try:
        token = _verified(unverified_token, keys)
        claims = token.claims
        _check_issuer_and_audience(claims, issuer=issuer, client_id=client_id)
        _check_times(claims, now=now)
        # Replay and code injection: the token belongs to the sign-in that this browser began.
        if not hmac.compare_digest(text_claim(claims, "nonce").encode(), nonce.encode()):
            raise JwsError("Its claim nonce belongs to another sign-in.")
        if "at_hash" in claims:
            _check_access_token(token, access_token)
        subject = text_claim(claims, "sub", max_length=MAX_SUBJECT_LENGTH)
        session = text_claim(claims, "sid", max_length=MAX_SUBJECT_LENGTH) if "sid" in claims else None
    except JwsError as error:
        raise IdTokenError(str(error)) from error
    return Identity(issuer, subject, session, claims)


def check_logout_token(
    unverified_token: str,
    *,
    keys: tuple[IssuerKey, ...],
    issuer: str,
    client_id: str,
    now: datetime,
) -> Logout:
    """
    Check a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6).

    The caller must still make sure that its `jti` was not used before.

    Raises:
        UnknownKeyError: The keys may be out of date.
        IdTokenError: Anything else that is wrong.
    """
    try:
        token = _verified(unverified_token, keys)
        claims = token.claims
        # Cross-JWT confusion: an ID token is signed by the same key for the same audience, and must end no session.
        events = claims.get("events")
        if (
            not isinstance(events, dict)
            or not isinstance(events.get(_LOGOUT_EVENT), dict)
            or "nonce" in claims
        ):
            raise JwsError("It is not a logout token.")
        _check_issuer_and_audience(claims, issuer=issuer, client_id=client_id)
        _check_times(claims, now=now)
        subject = text_claim(claims, "sub", max_length=MAX_SUBJECT_LENGTH) if "sub" in claims else None
        session = text_claim(claims, "sid", max_length=MAX_SUBJECT_LENGTH) if "sid" in claims else None
        if subject is None and session is None:
            raise JwsError("It names neither a subject nor a session.")
        jti = text_claim(claims, "jti")
    except JwsError as error:
        raise IdTokenError(str(error)) from error
    return Logout(issuer, subject, session, jti, int_claim(claims, "exp"))


def _verified(unverified_token: str, keys: tuple[IssuerKey, ...]) -> UnverifiedJws:
    """Check the signature and return the token; before that only `alg` and `kid` are read."""
    token = UnverifiedJws(unverified_token, max_length=MAX_ID_TOKEN_LENGTH)
    algorithm, kid = token.header.get("alg"), token.header.get("kid")
    if algorithm not in _RSA_ALGORITHMS | _ED25519_ALGORITHMS | set(_EC_ALGORITHMS.values()):
        raise JwsError("Its algorithm is not one of those accepted.")
    named = [key for key in keys if kid is None or key.kid == kid]
    if not named:
        raise UnknownKeyError("No key of the issuer has its kid.")
    fitting = [key for key in named if algorithm in key.algorithms]
    # Without a `kid` there must be only one candidate: trying key after key would hide which one the issuer has withdrawn.
    if len(fitting) != 1:
        raise JwsError("No single key of the issuer fits its kid and alg.")
    token.check_signature(key=fitting[0].key, algorithms=fitting[0].algorithms)
    return token


def _check_issuer_and_audience(claims: Mapping[str, Any], *, issuer: str, client_id: str) -> None:
    # Mix-up: compared as text, exactly.
    if claims.get("iss") != issuer:
        raise JwsError("Its issuer is another one.")
    audiences = audience_claim(dict(claims))
    if client_id not in audiences:
        raise JwsError("It is for another client.")
    authorized = claims.get("azp")
    # Several audiences: it must have been issued to this client, or another one could use its own token here.
    if (authorized is not None or len(audiences) > 1) and authorized != client_id:
        raise JwsError("It was issued to another client.")


def _check_times(claims: dict[str, Any], *, now: datetime) -> None:
    now_s = now.timestamp()
    if now_s >= int_claim(claims, "exp") + LEEWAY_S:
        raise JwsError("It has expired; or the clocks of the issuer and of this Server differ.")
    issued_s = int_claim(claims, "iat")
    if issued_s > now_s + LEEWAY_S:
        raise JwsError("It was issued in the future: the clocks of the issuer and of this Server differ.")
    if issued_s < now_s - _MAX_AGE_S - LEEWAY_S:
        raise JwsError("It was issued too long ago; or the clocks of the issuer and of this Server differ.")


def _check_access_token(token: UnverifiedJws, access_token: str | None) -> None:
    """Compare `at_hash`: the left half of the hash that belongs to the token's algorithm (section 3.1.3.6)."""
    algorithm = str(token.header["alg"])
    name = "sha512" if algorithm in _ED25519_ALGORITHMS else f"sha{algorithm[-3:]}"
    digest = hashlib.new(name, (access_token or "").encode()).digest()
    expected = base64url(digest[: len(digest) // 2])
    if not hmac.compare_digest(expected.encode(), text_claim(token.claims, "at_hash").encode()):
        raise JwsError("Its claim at_hash belongs to another access token.")
