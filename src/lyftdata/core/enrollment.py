"""
The enrollment key, and the proof by which a Worker shows that it knows the key.

The Worker never sends the secret. It signs a proof (JWS, HS256) with a key derived from it:

    aud   the Server's issuer: a proof for one Server is refused by another
    name  the name it asks for
    jkt   the thumbprint of its public identity key: a captured proof enrolls no other key
    jti, iat, exp   used once, within a minute
    nonce one of the Server's, if the Worker signs for the Server's time (docs/decisions/0012)

Two derived keys for two purposes (HKDF-SHA256, RFC 5869): one signs proofs, the other makes the fingerprint by which operators
refer to the secret. Neither reveals the other or the secret.
"""

import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
from joserfc.jwk import OctKey

from lyftdata.core._clocks import too_late, too_soon
from lyftdata.core._jose import (
    JwsError,
    UnverifiedJws,
    audience_claim,
    int_claim,
    sign,
    text_claim,
)
from lyftdata.core.api_keys import generate_base62
from lyftdata.core.encoding import derive_key, text_digest
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.refusals import MalformedProofError, ProofExpiredError, WrongEnrollmentKeyError
from lyftdata.core.secret import Secret

MIN_ENROLLMENT_KEY_LENGTH = 32
PROOF_TYPE = "lyftdata-enrollment-proof+jwt"
MAX_PROOF_LIFE_S = 60


class EnrollmentKey:
    """The shared secret and the keys derived from it; its repr shows nothing."""

    def __init__(self, secret: Secret) -> None:
        raw = secret.reveal().encode()
        self._digest = text_digest(secret.reveal())
        self._fingerprint_key = derive_key(raw, info=b"lyftdata enrollment fingerprint v1")
        self.proof_key = OctKey.import_key(derive_key(raw, info=b"lyftdata enrollment proof v1"))

    def fingerprint(self, pepper: bytes) -> str:
        """
        Return 16 hex digits that identify this secret.

        Args:
            pepper: A key that is not in the database. Offline guessing: without it a weak secret could be found from the
                fingerprint in a stolen database.
        """
        return hmac.digest(pepper, self._fingerprint_key, sha256)[:8].hex()

    def matches(self, unverified: str) -> bool:
        """Return whether this is the secret itself, in constant time (timing oracle): digests of equal length are compared."""
        return hmac.compare_digest(text_digest(unverified), self._digest)

    def __repr__(self) -> str:
        return "EnrollmentKey(***)"


class VerifiedProof(msgspec.Struct, frozen=True):
    """What a proof shows. The caller must still check `nonce`, compare name and thumbprint, and spend `jti`."""

    fingerprint: str
    worker_name: str
    thumbprint: str
    jti: str
    expires_at: datetime
    audience: str
    nonce: str | None = None


def generate_enrollment_key(random_bytes: Callable[[int], bytes]) -> Secret:
    """Make a secret: 43 base62 characters, more than 250 random bits."""
    return Secret(generate_base62(random_bytes, 43))


def check_enrollment_key_length(secret: Secret) -> None:
    """
    Refuse a secret that is too short to be safe.

    Raises:
        InvalidInputError: Fewer than 32 characters.
    """
    if len(secret) < MIN_ENROLLMENT_KEY_LENGTH:
        raise InvalidInputError(
            "enrollment_key",
            f"must have at least {MIN_ENROLLMENT_KEY_LENGTH} random characters; "
            "make one with: lyftdata enrollment generate-key",
        )


def make_proof(
    key: EnrollmentKey,
    *,
    audience: str,
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
        key: The shared secret.
        audience: The Server's issuer.
        worker_name: The name asked for.
        thumbprint: RFC 7638 thumbprint of the Worker's public key.
        now: Aware UTC time.
        jti: Unpredictable, new each time.
        ttl_s: Life in seconds, at most 60.
        nonce: One of the Server's, if it has given one.
    """
    issued = int(now.timestamp())
    claims: dict[str, object] = {
        "aud": audience,
        "name": worker_name,
        "jkt": thumbprint,
        "jti": jti,
        "iat": issued,
        "exp": issued + ttl_s,
    }
    if nonce is not None:
        claims["nonce"] = nonce
    return sign({"alg": "HS256", "typ": PROOF_TYPE}, claims, key=key.proof_key)


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
    keys: Sequence[tuple[str, EnrollmentKey]],
    audiences: Sequence[str],
    now: datetime,
    leeway_s: int = 30,
) -> VerifiedProof:
    """
    Check a proof.

    The caller must still check its nonce, that name and key are those of the request, and spend its `jti`.

    Args:
        unverified: As `read_proof` gave it.
        keys: Fingerprint and key, the current one first, then the previous.
        audiences: This Server's issuer, then the previous ones that it still accepts.
        now: Aware UTC time.
        leeway_s: Seconds by which clocks may differ.

    Raises:
        WrongEnrollmentKeyError: Not signed with any of the keys.
        MalformedProofError: Validly signed, but for another Server, too long-lived, or a claim is missing.
        ProofExpiredError: Outside its validity period (iat, nbf, exp); the detail says by how much.
    """
    header, claims = unverified.header, unverified.claims
    claimed = claims.get("name") if isinstance(claims.get("name"), str) else ""
    fingerprint = _find_key(unverified, keys, claimed=str(claimed))
    try:
        return _check_claims(
            header, claims, fingerprint=fingerprint, audiences=audiences, now=now, leeway_s=leeway_s
        )
    except JwsError as error:
        raise MalformedProofError(str(error), claimed_worker=str(claimed)) from error


def _find_key(unverified: UnverifiedJws, keys: Sequence[tuple[str, EnrollmentKey]], *, claimed: str) -> str:
    # Algorithm confusion: HS256 alone. Timing oracle: every key is tried, so the time of the answer does not reveal whether the
    # current or the previous key matched.
    matching = []
    for fingerprint, key in keys:
        try:
            unverified.check_signature(key=key.proof_key, algorithms=["HS256"])
        except JwsError:
            continue
        matching.append(fingerprint)
    if not matching:
        raise WrongEnrollmentKeyError("A proof was sent.", claimed_worker=claimed)
    return matching[0]


def _check_claims(
    header: dict[str, object],
    claims: dict[str, object],
    *,
    fingerprint: str,
    audiences: Sequence[str],
    now: datetime,
    leeway_s: int,
) -> VerifiedProof:
    # Type confusion: another JWT that is signed under the same key must not pass as a proof (RFC 8725, section 3.11).
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
        raise ProofExpiredError(too_late(now_s - expires), claimed_worker=name)
    if issued > now_s + leeway_s:
        raise ProofExpiredError(too_soon(issued - now_s), claimed_worker=name)
    nonce = text_claim(claims, "nonce") if "nonce" in claims else None
    # Replay: remembered for as long as it could be accepted, leeway included.
    remembered_until = datetime.fromtimestamp(expires + leeway_s, UTC)
    return VerifiedProof(fingerprint, name, thumbprint, jti, remembered_until, named[0], nonce)
