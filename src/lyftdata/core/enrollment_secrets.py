"""
Enrollment secrets, and the key pair that is derived from each.

The Worker derives the private key from the secret and signs its proof with it. The Server keeps only the public key: it can
check a proof and cannot make one (docs/decisions/0023).

    lyftdata_enroll_<10 public id>_<32 secret><6 checksum>   generated: more than 190 random bits, so one HKDF is enough
    anything else of 32 characters or more                   may be chosen by a person: stretched by scrypt, with the
                                                             Server's issuer as salt

The public id is not a secret: it is sent as the proof's `kid`. A chosen secret has none.
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from joserfc.jwk import OKPKey

from lyftdata.core.base62 import checksum, generate_base62
from lyftdata.core.encoding import KEY_BYTES, derive_key, text_digest
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret

MIN_ENROLLMENT_KEY_LENGTH = 32
_GENERATED_LENGTH = 65
_PREFIX = "lyftdata_enroll_"
_FORM = re.compile(r"(lyftdata_enroll_([0-9A-Za-z]{10})_[0-9A-Za-z]{32})([0-9A-Za-z]{6})")

# The parameters that OWASP recommends for passwords with 32 MiB. A Worker pays the cost once when it enrolls, and a Server once when
# it starts; a request never makes the Server stretch.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 3

# One purpose each (HKDF, RFC 5869): none of them reveals another, or the secret.
_GENERATED_PROOF = b"lyftdata enrollment proof of a generated key, Ed25519, v1"
_CHOSEN_PROOF = b"lyftdata enrollment proof of a chosen key, Ed25519, v1"
_STRETCHING = b"lyftdata enrollment, scrypt, v1\0"
_FINGERPRINT = b"lyftdata enrollment fingerprint v1"


class ProofKey:
    """
    The key pair that a Worker signs proofs with, for one Server; its repr reveals nothing.

    Attributes:
        key_id: Public id of the secret; None if a person chose the secret.
        audience: Issuer of the Server that the key pair is for.
        signing_key: Ed25519.
    """

    def __init__(self, private: Ed25519PrivateKey, *, key_id: str | None, audience: str) -> None:
        self.key_id = key_id
        self.audience = audience
        self.signing_key = OKPKey.import_key(private)

    def __repr__(self) -> str:
        return "ProofKey(***)"


class StoredParts(msgspec.Struct, frozen=True):
    """The stored parts of a generated secret: its public id, its public key (`x` of the JWK) and its SHA-256."""

    public_id: str
    public_key: str
    digest: bytes


class EnrollmentVerifier:
    """
    The part of an enrollment secret that a Server keeps: it checks proofs and cannot make one.

    Args:
        key_id: Public id of the secret; None if a person chose the secret.
        digest: SHA-256 of the secret, to recognize it if a client sends the secret itself.
        public_key: Returns the public key for proofs to one of the Server's issuers.
    """

    def __init__(
        self, *, key_id: str | None, digest: bytes, public_key: Callable[[str | None], OKPKey]
    ) -> None:
        self.key_id = key_id
        self.public_key = public_key
        self._digest = digest

    def matches(self, unverified: str) -> bool:
        """Return whether this is the secret itself, in constant time."""
        return hmac.compare_digest(text_digest(unverified), self._digest)

    def __repr__(self) -> str:
        return "EnrollmentVerifier(***)"


def generate_enrollment_key(random_bytes: Callable[[int], bytes]) -> Secret:
    """Generate a secret: `lyftdata_enroll_…`, more than 190 random bits."""
    body = f"{_PREFIX}{generate_base62(random_bytes, 10)}_{generate_base62(random_bytes, 32)}"
    return Secret(body + checksum(body))


def find_key_id(text: str) -> str | None:
    """Return the public id of a generated secret; None for any other text, or if the checksum is wrong."""
    match = _FORM.fullmatch(text)
    return match[2] if match is not None and match[3] == checksum(match[1]) else None


def holds_enrollment_key(text: str) -> bool:
    """Return whether a text contains an enrollment key, by its form and checksum."""
    return any(match[3] == checksum(match[1]) for match in _FORM.finditer(text))


def find_flaw(secret: Secret) -> str | None:
    """Return what is wrong with a secret that begins like a generated one, or None; the text does not repeat the secret."""
    text = secret.reveal()
    if not text.startswith(_PREFIX) or find_key_id(text) is not None:
        return None
    if _FORM.fullmatch(text) is not None:
        return "its checksum is wrong, so at least one character was changed"
    return (
        f"a key that begins with {_PREFIX} has {_GENERATED_LENGTH} characters, and this one has {len(text)}"
    )


def check_enrollment_key_length(secret: Secret) -> None:
    """
    Check that a secret is not too short to be safe.

    Raises:
        InvalidInputError: Fewer than 32 characters.
    """
    if len(secret) < MIN_ENROLLMENT_KEY_LENGTH:
        raise InvalidInputError(
            "enrollment_key",
            f"must have at least {MIN_ENROLLMENT_KEY_LENGTH} random characters; "
            "make one with: lyftdata enrollment generate-key",
        )


def derive_proof_key(secret: Secret, *, audience: str) -> ProofKey:
    """
    Derive the key pair of a secret for one Server. Slow for a chosen secret: call it in a thread.

    Args:
        secret: The enrollment key.
        audience: The Server's issuer.
    """
    key_id = find_key_id(secret.reveal())
    seed = (
        _stretched_seed(secret, audience)
        if key_id is None
        else derive_key(secret.reveal().encode(), info=_GENERATED_PROOF)
    )
    return ProofKey(Ed25519PrivateKey.from_private_bytes(seed), key_id=key_id, audience=audience)


def make_verifier(secret: Secret, *, audiences: Sequence[str]) -> EnrollmentVerifier:
    """
    Return the verifier for a secret. For a chosen secret each audience needs one slow stretch: call it in a thread.

    Args:
        secret: The enrollment key.
        audiences: The Server's issuer, then the previous ones that it still accepts.
    """
    key_id = find_key_id(secret.reveal())
    # A generated secret gives the same key pair at every Server, so that a Server can discard the secret and still change its address.
    salts = audiences if key_id is None else audiences[:1]
    by_audience = {audience: _public(derive_proof_key(secret, audience=audience)) for audience in salts}
    first = by_audience[audiences[0]]
    return EnrollmentVerifier(
        key_id=key_id,
        digest=text_digest(secret.reveal()),
        public_key=functools.partial(_choose, by_audience, first),
    )


def make_stored_parts(secret: Secret) -> StoredParts:
    """Return the parts to store of a secret that was just generated."""
    key_id = find_key_id(secret.reveal())
    if key_id is None:
        msg = "only a generated secret can be kept by its public half"
        raise ValueError(msg)
    # The public half of a generated secret is the same at every Server.
    public = derive_proof_key(secret, audience="").signing_key.as_dict(private=False)
    return StoredParts(key_id, str(public["x"]), text_digest(secret.reveal()))


def load_verifier(*, public_id: str, public_key: str, digest: bytes) -> EnrollmentVerifier:
    """Return the verifier for the stored parts of a generated secret."""
    key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": public_key})
    return EnrollmentVerifier(key_id=public_id, digest=digest, public_key=lambda _audience: key)


def fingerprint(secret: Secret, pepper: bytes) -> str:
    """
    Return 16 hex digits that name this secret.

    Args:
        secret: The enrollment key.
        pepper: A key that is not in the database: otherwise a weak secret could be guessed from a copy of it.
    """
    key = derive_key(secret.reveal().encode("utf-8", "surrogateescape"), info=_FINGERPRINT)
    return hmac.digest(pepper, key, hashlib.sha256)[:8].hex()


def _stretched_seed(secret: Secret, audience: str) -> bytes:
    # Precomputation: with the issuer as salt, a table of stretched phrases serves one deployment only.
    salt = hashlib.sha256(_STRETCHING + audience.encode()).digest()
    stretched = _stretch(secret.reveal().encode("utf-8", "surrogateescape"), salt)
    return derive_key(stretched, info=_CHOSEN_PROOF)


def _stretch(secret: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(secret)


def _public(key: ProofKey) -> OKPKey:
    """Return the public half only."""
    return OKPKey.import_key(key.signing_key.as_dict(private=False))


def _choose(by_audience: dict[str, OKPKey], otherwise: OKPKey, audience: str | None) -> OKPKey:
    return by_audience.get(audience or "", otherwise)
