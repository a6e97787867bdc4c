"""
Decides whether a token proves a Worker; pure: no socket, no clock, no cache.

The steps, in this order, each with a refusal of its own:

    1  form         compact JWS of at most 4096 characters, strict base64url, no header that makes the verifier
                    take a key or fetch a URL of the sender's choice       TokenMalformedError
    2  typ          at+jwt: an ID token or an assertion is refused         TokenMalformedError
    3  kid          names a key that the Server publishes                  UnknownKeyError
    4  alg, sig     the one algorithm of that key; then the signature      TokenSignatureError
    5  claims       present, and of the right type; sub is client_id       TokenMalformedError
    6  iss, aud     this Server, this service, compared exactly            WrongIssuerError, WrongAudienceError
    7  exp          expired from that very second on, without leeway       TokenExpiredError
    8  iat, nbf     not further ahead than clocks may differ               TokenNotYetValidError
    9  cnf          absent: a token bound to a key is not a bearer token   TokenBoundError

Checks of form precede the cryptography, so garbage costs little. The signature precedes every claim, so nothing that an
unproven sender wrote decides anything: claims are read earlier only to decide whether an unknown `kid` may cause a fetch.
Sources: RFC 9068, section 4; RFC 8725.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from lyftdata.core._jose import JwsError, UnverifiedJws
from lyftdata.core.text import clean_text
from lyftdata.verify._keys import PublishedKey
from lyftdata.verify.errors import (
    TokenBoundError,
    TokenExpiredError,
    TokenMalformedError,
    TokenNotYetValidError,
    TokenSignatureError,
    UnknownKeyError,
    WrongAudienceError,
    WrongIssuerError,
)
from lyftdata.verify.identity import WorkerIdentity

_TYPES = frozenset({"at+jwt", "application/at+jwt"})

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Second = Annotated[int, msgspec.Meta(ge=0, lt=2**33)]


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The required `iss` and `aud` of a token, and by how many seconds the clocks of Server and service may differ."""

    issuer: str
    audience: str
    leeway_s: float


class VerifiedToken(msgspec.Struct, frozen=True):
    """What a token proves: valid while `key` is published and until `expires_at_s` (Unix time)."""

    worker: WorkerIdentity
    expires_at_s: int
    key: PublishedKey


class _Claims(msgspec.Struct, frozen=True):
    iss: Text
    sub: Text
    client_id: Text
    aud: str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=8)]
    jti: Text
    iat: Second
    exp: Second
    worker_name: str
    auth_strategy: str
    labels: dict[str, str]
    nbf: Second = 0
    scope: str = ""
    cnf: Any = None


_decoder = msgspec.json.Decoder(_Claims)


def verify_token(
    unverified_token: str, *, keys: Mapping[str, PublishedKey], expected: Expected, now_s: float
) -> VerifiedToken:
    """
    Check a worker token, and return what it proves.

    Does not check whether the Worker was disabled since: that is the online check.

    Args:
        unverified_token: As received, without `Bearer`.
        keys: The Server's published keys by `kid`.
        expected: The `iss` and `aud` that it must have.
        now_s: Unix time in seconds.

    Raises:
        InvalidTokenError: One of its subclasses, as listed above.
    """
    unverified = read_form(unverified_token)
    # Type confusion: an ID token or an assertion with the same signer must not pass as an access token (RFC 9068, section 4).
    # Required, not optional: without it the Server's key would make every JWT that it ever signs a worker token.
    if str(unverified.header.get("typ")).lower() not in _TYPES:
        raise TokenMalformedError("Its typ is not at+jwt.")
    # Key injection: only a published key counts; `jwk`, `jku` and `x5u` in the header are never followed.
    key = keys.get(str(unverified.header.get("kid")))
    if key is None:
        # Amplification: made-up `kid`s must not make this service fetch keys for every request.
        is_worth_fetching = _names_this_service(unverified.claims, expected=expected, now_s=now_s)
        raise UnknownKeyError(
            "Its kid is not one of the Server's published keys.", worth_fetching=is_worth_fetching
        )
    _check_signature(unverified, key=key, algorithm=unverified.header.get("alg"))
    claims = _decode_claims(unverified.payload)
    _check_claims(claims, expected=expected, now_s=now_s)
    return VerifiedToken(_identity(claims, expected.audience), claims.exp, key)


def read_form(unverified_token: object) -> UnverifiedJws:
    """
    Split a token into its parts; nothing in them is verified.

    Raises:
        TokenMalformedError: Not a compact JWS.
    """
    if not isinstance(unverified_token, str):
        raise TokenMalformedError(f"It is of type {type(unverified_token).__name__}, not str.")
    if not unverified_token:
        raise TokenMalformedError("It is empty.")
    if unverified_token[:7].lower() == "bearer ":
        raise TokenMalformedError("It starts with the scheme: pass what follows `Bearer `.")
    try:
        return UnverifiedJws(unverified_token)
    except JwsError as error:
        raise TokenMalformedError(str(error)) from error


def _check_signature(unverified: UnverifiedJws, *, key: PublishedKey, algorithm: str | None) -> None:
    # The key says which algorithm, the token only repeats it: `none`, and HS256 under a public key taken for a
    # secret, end here (RFC 8725, sections 2.1 and 3.1).
    if algorithm not in key.algorithms:
        raise TokenSignatureError("Its alg is not that of its key.")
    try:
        unverified.check_signature(key=key.key, algorithms=[algorithm])
    except JwsError as error:
        raise TokenSignatureError(str(error)) from error


def _decode_claims(payload: bytes) -> _Claims:
    # Type juggling: `exp` as text or `aud` as an object would make the comparisons below fail open or crash. Decoded from the
    # very bytes that were signed, so that no second parser can read other claims out of them.
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        # The library's text names the claim, not its value.
        raise TokenMalformedError(f"Its claims are not those of a worker token: {error}") from error


def _check_claims(claims: _Claims, *, expected: Expected, now_s: float) -> None:
    # Confused deputy: a token that a client holds for somebody else (`sub` is a user) is not a Worker's own. Under
    # `client_credentials` both claims name the client (RFC 9068, sections 2.2 and 5).
    if claims.sub != claims.client_id:
        raise TokenMalformedError("sub and client_id differ.")
    # Mix-up: two Servers may publish the same key, as after a restored backup; the token's Server must be the expected one.
    if claims.iss != expected.issuer:
        raise WrongIssuerError(
            f"It is from {clean_text(claims.iss)}, and the issuer here is {expected.issuer}."
        )
    # Relay: another service must not be able to use here the token with which a Worker called it (RFC 8725, section 3.9).
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if expected.audience not in audiences:
        raise WrongAudienceError(
            f"It is meant for {clean_text(' '.join(audiences))}, and this service is {clean_text(expected.audience)}."
        )
    # Late use: `exp` has no leeway, unlike `iat` and `nbf`. A leeway would extend the time for which a stolen token or a disabled Worker
    # is accepted, and honest Workers renew long before `exp` (RFC 7519, section 4.1.4, permits a leeway but does not require one).
    if now_s >= claims.exp:
        raise TokenExpiredError
    # Clock skew: this host's clock may be behind the Server's. A token from further in the future means a clock that is wrong, and
    # then `exp` cannot be trusted either.
    ahead_s = max(claims.iat, claims.nbf) - now_s
    if ahead_s > expected.leeway_s:
        raise TokenNotYetValidError(f"It begins in {ahead_s:.0f} s: set this host's clock, or the Server's.")
    # Theft: a bound token that is accepted without its proof of possession would be a bearer token for a thief.
    if claims.cnf is not None:
        raise TokenBoundError


def _identity(claims: _Claims, audience: str) -> WorkerIdentity:
    return WorkerIdentity(
        worker_id=claims.sub,
        name=claims.worker_name,
        strategy=claims.auth_strategy,
        # Privilege escalation between requests: one object serves every request with this token, so nothing in it may be changed.
        labels=MappingProxyType(claims.labels),
        scopes=frozenset(claims.scope.split(" ")) - {""},
        audience=audience,
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        expires_at=datetime.fromtimestamp(claims.exp, UTC),
        token_id=claims.jti,
    )


def _names_this_service(unverified_claims: Mapping[str, Any], *, expected: Expected, now_s: float) -> bool:
    """Return whether unverified claims name this issuer and audience: only such a token may cause a fetch of keys."""
    audience, expires = unverified_claims.get("aud"), unverified_claims.get("exp")
    return (
        unverified_claims.get("iss") == expected.issuer
        and expected.audience in (audience if isinstance(audience, list) else [audience])
        and isinstance(expires, int | float)
        and now_s < expires
    )
