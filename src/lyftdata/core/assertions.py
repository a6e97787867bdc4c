"""
Makes and checks the signed assertions by which a Worker authenticates with its identity key.

The method is `private_key_jwt` (RFC 7523, section 3; OpenID Connect Core, section 9).
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec
from joserfc.jwk import OKPKey

from lyftdata.core._clocks import too_late, too_soon
from lyftdata.core._jose import (
    JwsError,
    UnverifiedJws,
    audience_claim,
    int_claim,
    sign,
    text_claim,
)
from lyftdata.core.identity_keys import (
    IdentityKey,
    PublicIdentityKey,
    generate_identity_key,
    parse_public_jwk,
)
from lyftdata.core.refusals import AssertionExpiredError, WrongAssertionError

MAX_LIFE_S = 300
LEEWAY_S = 30

# Checked against when the Worker has no key, or one for another algorithm than the caller chose, so that this
# costs what a wrong signature costs.
_NOBODY_ES256 = generate_identity_key().public
_NOBODY_ED25519 = parse_public_jwk(OKPKey.generate_key("Ed25519").as_dict(private=False))


class VerifiedAssertion(msgspec.Struct, frozen=True):
    """
    What a checked assertion leaves to do: ask whether it is from before a moment that matters, and spend its `jti`.

    `signed_at` is when it was signed by the Worker's clock, which may be off by the leeway; the earliest possible time where it
    does not say. `nonce` is what it holds, not checked yet. `audience` is which of the accepted ones it names.
    """

    jti: str
    expires_at: datetime
    signed_at: datetime
    audience: str
    nonce: str | None = None

    def may_be_before(self, moment: datetime, *, leeway_s: float = LEEWAY_S) -> bool:
        """Return whether it may have been signed before a moment, by a Worker whose clock is ahead by the leeway."""
        return self.signed_at < moment + timedelta(seconds=leeway_s)


def make_assertion(
    key: IdentityKey,
    *,
    worker_id: str,
    audience: str,
    now: datetime,
    jti: str,
    ttl_s: int = 60,
    nonce: str | None = None,
) -> str:
    """
    Sign an assertion for one token request.

    Args:
        key: The Worker's identity key.
        worker_id: The Worker's ID.
        audience: The Server's issuer.
        now: Aware UTC time.
        jti: Unpredictable, new each time.
        ttl_s: Life in seconds.
        nonce: One of the Server's, if it has given one.
    """
    issued = int(now.timestamp())
    claims: dict[str, object] = {
        "iss": worker_id,
        "sub": worker_id,
        "aud": audience,
        "jti": jti,
        "iat": issued,
        "exp": issued + ttl_s,
    }
    if nonce is not None:
        claims["nonce"] = nonce
    header = {"alg": key.algorithm, "typ": "JWT", "kid": key.public.thumbprint}
    return sign(header, claims, key=key.jose_key)


class UnverifiedAssertion:
    """An assertion taken apart, of which nobody has checked anything: read once, for finding the key and for checking."""

    __slots__ = ("jws",)

    def __init__(self, jws: UnverifiedJws) -> None:
        self.jws = jws

    def unsafe_client_id(self) -> str | None:
        """Return its `sub`: good for finding the key that checks it, and nothing else."""
        try:
            return text_claim(self.jws.claims, "sub", max_length=128)
        except JwsError:
            return None


def read_assertion(unverified: str) -> UnverifiedAssertion:
    """
    Take an assertion apart.

    Raises:
        WrongAssertionError: Too long, or no compact JWS.
    """
    try:
        return UnverifiedAssertion(UnverifiedJws(unverified))
    except JwsError as error:
        raise WrongAssertionError(str(error)) from error


def verify_assertion(
    unverified: UnverifiedAssertion,
    *,
    key: PublicIdentityKey | None,
    worker_id: str,
    audiences: Collection[str],
    now: datetime,
    leeway_s: int = LEEWAY_S,
) -> VerifiedAssertion:
    """
    Check an assertion.

    Whether its nonce is good, whether it was signed before the Worker was disabled, and whether its `jti` was used before is
    not asked here: the caller does.

    Args:
        unverified: As `read_assertion` gave it.
        key: The Worker's public identity key; None costs the same time and never passes.
        worker_id: Who the caller says it is; `iss` and `sub` must both be it.
        audiences: Accepted `aud` values, compared exactly, the preferred one first.
        now: Aware UTC time.
        leeway_s: Seconds by which clocks may differ.

    Raises:
        WrongAssertionError: Of another type, another key, another audience, another Worker, longer than 300 s.
        AssertionExpiredError: Outside its validity period (iat, nbf, exp); the detail says by how much.
    """
    try:
        header, claims = unverified.jws.header, unverified.jws.claims
        # An access token of this Server must not pass as an assertion, nor the reverse (RFC 8725, section 3.11).
        if header.get("typ", "JWT") not in {"JWT", "client-authentication+jwt"}:
            raise JwsError("Its typ is not that of an assertion.")
        # Algorithm confusion: the key decides which algorithms count, so neither `none` nor HS256 with the public key as
        # its secret is ever tried (RFC 8725, section 2.1).
        checked = _key_or_stand_in(key, str(header.get("alg")))
        unverified.jws.check_signature(key=checked.key, algorithms=checked.algorithms)
        # Enumeration: an unknown Worker costs one signature check too, so the time of the answer does not tell which IDs exist.
        if checked is not key:
            raise JwsError("The Worker has no identity key for this algorithm.")
        return _check_claims(claims, worker_id=worker_id, audiences=audiences, now=now, leeway_s=leeway_s)
    except JwsError as error:
        raise WrongAssertionError(str(error), claimed_worker=worker_id) from error


def _key_or_stand_in(key: PublicIdentityKey | None, algorithm: str) -> PublicIdentityKey:
    """Return the Worker's key if it fits the algorithm, else one that nobody has and that costs the same to check."""
    if key is not None and algorithm in key.algorithms:
        return key
    return _NOBODY_ED25519 if algorithm in _NOBODY_ED25519.algorithms else _NOBODY_ES256


def _check_claims(
    claims: dict[str, object], *, worker_id: str, audiences: Collection[str], now: datetime, leeway_s: int
) -> VerifiedAssertion:
    # Impersonation: a Worker must not sign in another one's name with its own, valid key.
    if text_claim(claims, "iss") != worker_id or text_claim(claims, "sub") != worker_id:
        raise JwsError("Its iss and sub name another Worker.")
    # Relay: another server that a Worker signs for must not be able to use the assertion here (RFC 7523, section 3, point 3).
    named = set(audience_claim(claims))
    audience = next((accepted for accepted in audiences if accepted in named), None)
    if audience is None:
        raise JwsError("It is meant for another Server.")
    jti = text_claim(claims, "jti", max_length=128)
    expires = int_claim(claims, "exp")
    # Neither is required by RFC 7523; whichever is there must not lie in the future.
    given = {name: int_claim(claims, name) for name in ("iat", "nbf") if name in claims}
    starts = max(given.values(), default=0)
    now_s = now.timestamp()
    if "iat" in claims:
        # Some clients sign for an hour. It counts for as long as we would take it anyhow, and its jti is remembered
        # for no longer than that.
        expires = min(expires, int_claim(claims, "iat") + MAX_LIFE_S)
    if now_s >= expires + leeway_s:
        raise AssertionExpiredError(too_late(now_s - expires), claimed_worker=worker_id)
    if starts > now_s + leeway_s:
        raise AssertionExpiredError(too_soon(starts - now_s), claimed_worker=worker_id)
    # Replay: a `jti` is remembered until its assertion expires, so a long life would fill that memory.
    if expires > now_s + MAX_LIFE_S + leeway_s:
        raise JwsError(f"It lives longer than {MAX_LIFE_S} seconds.")
    signed_s = given.get("iat", given.get("nbf", expires - MAX_LIFE_S))
    nonce = text_claim(claims, "nonce") if "nonce" in claims else None
    return VerifiedAssertion(
        jti,
        expires_at=datetime.fromtimestamp(expires, UTC),
        signed_at=datetime.fromtimestamp(max(0, signed_s), UTC),
        audience=audience,
        nonce=nonce,
    )
