"""
The proof by which a Worker shows that it knows an enrollment key.

The Worker never sends the secret. It signs a proof (JWS, Ed25519) with the key pair that is derived from it
(`core.enrollment_secrets`):

    kid   the public id of the secret, if it has one
    aud   the Server's issuer: a proof for one Server is refused by another
    name  the name that it asks for
    jkt   the thumbprint of its public identity key: a captured proof enrolls no other key
    jti, iat, exp   used once, within a minute
    nonce one of the Server's, if the Worker signs for the Server's time (docs/decisions/0012)
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from lyftdata.core._clocks import describe_expired, describe_not_yet_valid
from lyftdata.core._jose import (
    JwsError,
    UnverifiedJws,
    audience_claim,
    int_claim,
    sign,
    text_claim,
)
from lyftdata.core.enrollment_secrets import EnrollmentVerifier, ProofKey
from lyftdata.core.refusals import MalformedProofError, ProofExpiredError, WrongEnrollmentKeyError

PROOF_TYPE = "lyftdata-enrollment-proof+jwt"
MAX_PROOF_LIFE_S = 60
# RFC 9864, and the older name, which is the only one that many libraries know (RFC 8037).
_ALGORITHMS = ("Ed25519", "EdDSA")


class VerifiedProof(msgspec.Struct, frozen=True):
    """What a proof proves. The caller must still check `nonce`, compare name and thumbprint, and spend `jti`."""

    fingerprint: str
    worker_name: str
    thumbprint: str
    jti: str
    expires_at: datetime
    audience: str
    nonce: str | None = None


def make_proof(
    key: ProofKey,
    *,
    worker_name: str,
    thumbprint: str,
    now: datetime,
    jti: str,
    ttl_s: int = 60,
    nonce: str | None = None,
) -> str:
    """
    Sign a proof for one enrollment.

    Args:
        key: Derived from the secret, for one Server.
        worker_name: The name asked for.
        thumbprint: RFC 7638 thumbprint of the Worker's public key.
        now: Aware UTC time.
        jti: Unpredictable, new each time.
        ttl_s: Lifetime in seconds, at most 60.
        nonce: The Server's nonce, if it has sent one.
    """
    issued = int(now.timestamp())
    claims: dict[str, object] = {
        "aud": key.audience,
        "name": worker_name,
        "jkt": thumbprint,
        "jti": jti,
        "iat": issued,
        "exp": issued + ttl_s,
    }
    if nonce is not None:
        claims["nonce"] = nonce
    header = {"alg": "Ed25519", "typ": PROOF_TYPE}
    if key.key_id is not None:
        header["kid"] = key.key_id
    return sign(header, claims, key=key.signing_key)


def read_proof(unverified: str) -> UnverifiedJws | None:
    """Split a credential that is a proof by its `typ`; None for anything else, which is then treated as the secret itself."""
    try:
        jws = UnverifiedJws(unverified)
    except JwsError:
        return None
    return jws if jws.header.get("typ") == PROOF_TYPE else None


def verify_proof(
    unverified: UnverifiedJws,
    *,
    keys: Sequence[tuple[str, EnrollmentVerifier]],
    audiences: Sequence[str],
    now: datetime,
    leeway_s: int = 30,
) -> VerifiedProof:
    """
    Check a proof.

    The caller must still check its nonce, that name and key are those of the request, and spend its `jti`.

    Args:
        unverified: As returned by `read_proof`.
        keys: Fingerprint and verifier, the current one first, then the previous.
        audiences: This Server's issuer, then the previous ones that it still accepts.
        now: Aware UTC time.
        leeway_s: Seconds by which clocks may differ.

    Raises:
        WrongEnrollmentKeyError: Not signed with any of the keys, or signed with a chosen key that was stretched for another Server.
        MalformedProofError: Validly signed, but for another Server, too long-lived, or a claim is missing.
        ProofExpiredError: Outside its validity period (iat, nbf, exp); the detail says by how much.
    """
    header, claims = unverified.header, unverified.claims
    claimed = claims.get("name") if isinstance(claims.get("name"), str) else ""
    fingerprint = _find_key(unverified, keys, audiences=audiences, claimed=str(claimed))
    try:
        return _check_claims(
            header, claims, fingerprint=fingerprint, audiences=audiences, now=now, leeway_s=leeway_s
        )
    except JwsError as error:
        raise MalformedProofError(str(error), claimed_worker=str(claimed)) from error


def _find_key(
    unverified: UnverifiedJws,
    keys: Sequence[tuple[str, EnrollmentVerifier]],
    *,
    audiences: Sequence[str],
    claimed: str,
) -> str:
    audience = unverified.claims.get("aud")
    unverified_audience = audience if isinstance(audience, str) else None
    # Algorithm confusion: Ed25519 alone, or the public key could be used as an HMAC secret. Timing oracle: every key is tried,
    # so the time of the answer does not reveal which of them matched.
    matching = []
    for fingerprint, key in keys:
        try:
            unverified.check_signature(key=key.public_key(unverified_audience), algorithms=_ALGORITHMS)
        except JwsError:
            continue
        matching.append(fingerprint)
    if not matching:
        raise WrongEnrollmentKeyError(_describe(unverified_audience, audiences), claimed_worker=claimed)
    return matching[0]


def _describe(unverified_audience: str | None, audiences: Sequence[str]) -> str:
    if unverified_audience is None or unverified_audience in audiences:
        return "A proof was sent."
    return f"A proof for '{unverified_audience}' was sent, and this Server is '{audiences[0]}'."


def _check_claims(
    header: dict[str, object],
    claims: dict[str, object],
    *,
    fingerprint: str,
    audiences: Sequence[str],
    now: datetime,
    leeway_s: int,
) -> VerifiedProof:
    # Type confusion: another JWT that is signed with the same key must not pass as a proof (RFC 8725, section 3.11).
    if header.get("typ") != PROOF_TYPE:
        raise JwsError("Its typ is not that of a proof.")
    # Relay: a proof that was captured on its way to another Server with the same enrollment key must not enroll here. One
    # audience only: a proof for two Servers could be used once at each.
    named = audience_claim(claims)
    if len(named) != 1 or named[0] not in audiences:
        raise JwsError(f"It is meant for '{named[0]}', and this Server is '{audiences[0]}'.")
    name, thumbprint = text_claim(claims, "name"), text_claim(claims, "jkt", max_length=43)
    jti = text_claim(claims, "jti", max_length=128)
    issued, expires = int_claim(claims, "iat"), int_claim(claims, "exp")
    # Replay: a `jti` is remembered until its proof expires, so a captured proof must expire soon.
    if not 0 < expires - issued <= MAX_PROOF_LIFE_S:
        raise JwsError(f"It lives longer than {MAX_PROOF_LIFE_S} seconds.")
    now_s = now.timestamp()
    if now_s >= expires + leeway_s:
        raise ProofExpiredError(describe_expired(now_s - expires), claimed_worker=name)
    if issued > now_s + leeway_s:
        raise ProofExpiredError(describe_not_yet_valid(issued - now_s), claimed_worker=name)
    nonce = text_claim(claims, "nonce") if "nonce" in claims else None
    # Replay: remembered for as long as it could be accepted, leeway included.
    remembered_until = datetime.fromtimestamp(expires + leeway_s, UTC)
    return VerifiedProof(fingerprint, name, thumbprint, jti, remembered_until, named[0], nonce)
