"""
Makes and checks the signed assertions by which a Worker authenticates with its identity key.

The method is `private_key_jwt` (RFC 7523, section 3; OpenID Connect Core, section 9).
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec
from joserfc.jwk import OKPKey

from lyftdata.core._clocks import describe_expired, describe_not_yet_valid
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
from lyftdata.core.signature_counter import CLAIM, SignatureNumber, counter_claim, to_claim

MAX_LIFE_S = 300
LEEWAY_S = 30

# Enumeration by timing: checked against if the Worker has no key, or one for another algorithm than the caller chose, so that
# this takes as long as a wrong signature.
_DECOY_KEY_ES256 = generate_identity_key().public
_DECOY_KEY_ED25519 = parse_public_jwk(OKPKey.generate_key("Ed25519").as_dict(private=False))


class VerifiedAssertion(msgspec.Struct, frozen=True):
    """
    What an assertion proves. The caller must still check that it is not stale, spend its `jti`, and check its `counter`.

    `signed_at` is the time of signing by the Worker's clock, which may be off by the leeway; if the assertion does not say, the
    earliest possible time. `nonce` is not checked yet. `audience` is the accepted audience that it names.
    """

    jti: str
    expires_at: datetime
    signed_at: datetime
    audience: str
    nonce: str | None = None
    counter: SignatureNumber | None = None

    def may_predate(self, moment: datetime, *, leeway_s: float = LEEWAY_S) -> bool:
        """Return whether it may have been signed before this time, by a Worker whose clock is ahead by up to the leeway."""
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
    counter: SignatureNumber | None = None,
) -> str:
    """
    Sign an assertion for one token request.

    Args:
        key: The Worker's identity key.
        worker_id: The Worker's ID.
        audience: The Server's issuer.
        now: Aware UTC time.
        jti: Random, new each time.
        ttl_s: Lifetime in seconds.
        nonce: The Server's nonce, if it has sent one.
        counter: The number of this signature; None if the Worker's signatures are not counted.
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
    if counter is not None:
        claims[CLAIM] = to_claim(counter)
    header = {"alg": key.algorithm, "typ": "JWT", "kid": key.public.thumbprint}
    return sign(header, claims, key=key.jose_key)


class UnverifiedAssertion:
    """An assertion, split but not checked; parsed once, both to find the key and to verify the assertion."""

    __slots__ = ("jws",)

    def __init__(self, jws: UnverifiedJws) -> None:
        self.jws = jws

    def unsafe_client_id(self) -> str | None:
        """Return its `sub`, unverified: to find the key that checks it, and for nothing else."""
        try:
            return text_claim(self.jws.claims, "sub", max_length=128)
        except JwsError:
            return None

    def unsafe_key_id(self) -> str | None:
        """Return its `kid`, unverified: to choose between a Worker's current and next key, and for nothing else."""
        key_id = self.jws.header.get("kid")
        return key_id if isinstance(key_id, str) else None


def read_assertion(unverified: str) -> UnverifiedAssertion:
    """
    Split an assertion into its parts.

    Raises:
        WrongAssertionError: Too long, or not a compact JWS.
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

    The caller must still check its nonce, check that it was not signed before the Worker was last disabled, and spend its `jti`.

    Args:
        unverified: As returned by `read_assertion`.
        key: The Worker's public identity key; None takes the same time and never passes.
        worker_id: The Worker ID that the caller claims; `iss` and `sub` must both be equal to it.
        audiences: Accepted `aud` values, compared exactly, the preferred one first.
        now: Aware UTC time.
        leeway_s: Seconds by which clocks may differ.

    Raises:
        WrongAssertionError: The type, key, audience or Worker is another one, or it lives longer than 300 s.
        AssertionExpiredError: Outside its validity period (iat, nbf, exp); the detail says by how much.
    """
    try:
        header, claims = unverified.jws.header, unverified.jws.claims
        # Step 1 of 3, type. Cross-JWT confusion: a worker token or a DPoP proof must not pass as an assertion, nor the reverse
        # (RFC 8725, section 3.11). `typ` is optional in RFC 7523, so it may be absent.
        if header.get("typ", "JWT") not in {"JWT", "client-authentication+jwt"}:
            raise JwsError("Its typ is not that of an assertion.")
        # Step 2, signature. Algorithm confusion: the key decides which algorithms count, so neither `none` nor HS256 with the
        # public key as its secret is ever tried (RFC 8725, section 2.1). The key is one stored for the claimed Worker: `jku`
        # of the header chooses nothing, and `kid` only between its current and its next key.
        checked = _key_or_decoy(key, str(header.get("alg")))
        unverified.jws.check_signature(key=checked.key, algorithms=checked.algorithms)
        # Enumeration: an unknown Worker costs one signature check too, so the time of the answer does not tell which IDs exist.
        if checked is not key:
            raise JwsError("The Worker has no identity key for this algorithm.")
        # Step 3, claims: only now, so that no unsigned claim decides anything or appears in a refusal.
        return _check_claims(claims, worker_id=worker_id, audiences=audiences, now=now, leeway_s=leeway_s)
    except JwsError as error:
        raise WrongAssertionError(str(error), claimed_worker=worker_id) from error


def _key_or_decoy(key: PublicIdentityKey | None, algorithm: str) -> PublicIdentityKey:
    """Return the Worker's key if it fits the algorithm, otherwise a decoy that takes as long to check."""
    if key is not None and algorithm in key.algorithms:
        return key
    return _DECOY_KEY_ED25519 if algorithm in _DECOY_KEY_ED25519.algorithms else _DECOY_KEY_ES256


def _check_claims(
    claims: dict[str, object], *, worker_id: str, audiences: Collection[str], now: datetime, leeway_s: int
) -> VerifiedAssertion:
    # Impersonation: a Worker must not sign in another one's name with its own, valid key (RFC 7523, section 3, points 1 and 2).
    if claims.get("iss") != worker_id or claims.get("sub") != worker_id:
        # If one is missing or not a string, that error says more.
        text_claim(claims, "iss")
        text_claim(claims, "sub")
        raise JwsError("Its iss and sub name another Worker.")
    # Relay: another server that a Worker signs for must not be able to use the assertion here (RFC 7523, section 3, point 3).
    named = audience_claim(claims)
    audience = next((accepted for accepted in audiences if accepted in named), None)
    if audience is None:
        raise JwsError("It is meant for another Server.")
    # Required, though optional in RFC 7523: without a `jti` to spend, each assertion could be replayed.
    jti = text_claim(claims, "jti", max_length=128)
    expires = int_claim(claims, "exp")
    # Pre-dating: an assertion from the future would be good at a time that its signer does not control. RFC 7523 requires neither
    # claim; what is present must not be in the future.
    given = {name: int_claim(claims, name) for name in ("iat", "nbf") if name in claims}
    starts = max(given.values(), default=0)
    now_s = now.timestamp()
    if "iat" in claims:
        # Replay window: some clients sign for an hour. The assertion is accepted for 300 s all the same, so a captured one is
        # soon useless, and its `jti` need not be remembered for an hour.
        expires = min(expires, int_claim(claims, "iat") + MAX_LIFE_S)
    if now_s >= expires + leeway_s:
        raise AssertionExpiredError(describe_expired(now_s - expires), claimed_worker=worker_id)
    if starts > now_s + leeway_s:
        raise AssertionExpiredError(describe_not_yet_valid(starts - now_s), claimed_worker=worker_id)
    # Memory exhaustion: a `jti` is remembered until its assertion expires, so long-lived ones without `iat` would fill that memory.
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
        counter=counter_claim(claims),
    )
