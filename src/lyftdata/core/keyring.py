"""
The Server's signing keys: what they are, how they are stored, and when they change.

Rotation with overlap: the next key is published a day before it signs, so that every service that caches the JWKS has seen
it; the previous one stays published for a day after its last token has expired.
"""

import functools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from joserfc.jwk import ECKey, OKPKey

from lyftdata.core.errors import LyftdataError
from lyftdata.core.records import SigningKeyRecord
from lyftdata.core.sealing import UnsealError, seal, unseal

_ES256 = ec.ECDSA(SHA256())
SIGNING_ALGORITHMS = ("ES256", "EdDSA", "Ed25519")


class KeyDecryptionError(LyftdataError):
    """The Server's secret key is not the one its signing keys were encrypted with."""

    code = "signing_key_decryption_failed"


class VerificationKey(msgspec.Struct, frozen=True):
    """The public half of a signing key, and the one algorithm that it is for (RFC 8725, section 3.1)."""

    kid: str
    algorithm: str
    key: ECKey | OKPKey


class SigningKey:
    """A key that signs worker tokens; its repr shows only the `kid`."""

    def __init__(
        self, algorithm: str, private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    ) -> None:
        self.algorithm = algorithm
        self.private = private
        # Determined once: checking the type of the key takes as long as encoding a token.
        self._sign: Callable[[bytes], bytes] = (
            functools.partial(_sign_es256, private)
            if isinstance(private, ec.EllipticCurvePrivateKey)
            else private.sign
        )
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.jose_key: ECKey | OKPKey = (ECKey if algorithm == "ES256" else OKPKey).import_key(pem)
        self.kid = self.jose_key.thumbprint()
        public = type(self.jose_key).import_key(self.jose_key.as_dict(private=False))
        self.verification = VerificationKey(self.kid, algorithm, public)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, in the form of RFC 7518, section 3.4, or RFC 8037, section 3.1."""
        return self._sign(message)

    def public_jwk(self) -> dict[str, str]:
        """Return the JWK to publish (RFC 7517, section 4)."""
        jwk = {key: str(value) for key, value in self.jose_key.as_dict(private=False).items()}
        return jwk | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm}, {self.kid})"


def _sign_es256(private: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    # r and s side by side, 32 bytes each (RFC 7518, section 3.4), not ASN.1.
    r, s = decode_dss_signature(private.sign(message, _ES256))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def generate_signing_key(algorithm: str) -> SigningKey:
    """
    Make a key for one of `SIGNING_ALGORITHMS`; its `kid` is its RFC 7638 thumbprint.

    `EdDSA` and `Ed25519` (RFC 9864) name the same signature, made with the same kind of key.
    """
    if algorithm == "ES256":
        return SigningKey(algorithm, ec.generate_private_key(ec.SECP256R1()))
    if algorithm in {"EdDSA", "Ed25519"}:
        return SigningKey(algorithm, ed25519.Ed25519PrivateKey.generate())
    msg = f"not a supported signing algorithm: {algorithm}"
    raise ValueError(msg)


def encrypt_signing_key(key: SigningKey, *, kek: bytes, nonce: bytes) -> bytes:
    """
    Return the nonce, followed by the private half encrypted with AES-256-GCM.

    Args:
        key: The key to store.
        kek: 32 bytes that are not in the database: someone who steals the database cannot sign tokens.
        nonce: 12 random bytes, never used twice with one `kek`: reuse would reveal the key stream (NIST SP 800-38D, section 8).
    """
    plain = key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    # Substitution: the `kid` is authenticated with it, so an attacker who can write to the database cannot move one record's key to
    # another record, for example to bring back a retired key.
    return seal(plain, key=kek, nonce=nonce, context=key.kid)


def decrypt_signing_key(record: SigningKeyRecord, *, kek: bytes) -> SigningKey:
    """
    Return the key of a record.

    Raises:
        KeyDecryptionError: Another `kek`, or the record was tampered with.
    """
    try:
        plain = unseal(record.encrypted_private_key, key=kek, context=record.kid)
    except UnsealError as error:
        raise KeyDecryptionError(
            "The signing keys in the database cannot be decrypted: this is not the secret key they were encrypted with.",
            hint="Restore secret.key of the data directory, or LYFTDATA_SECRET_KEY, from where the database came from.",
        ) from error
    private = load_der_private_key(plain, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise KeyDecryptionError("A signing key in the database is of an unsupported kind.")
    return SigningKey(record.algorithm, private)


class RotationPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When keys change; `token_ttl` is the maximum lifetime of a token."""

    token_ttl: timedelta
    rotate_every: timedelta = timedelta(days=30)
    publish_ahead: timedelta = timedelta(hours=24)


class RotationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is due; `create_signs_from` is None if a new key signs at once."""

    create: bool = False
    create_signs_from: datetime | None = None
    retire: list[tuple[str, datetime]] = []
    remove: list[str] = []


def active_key(records: Sequence[SigningKeyRecord], now: datetime) -> SigningKeyRecord:
    """Return the key that signs now: the newest whose `signs_from` has passed."""
    started = [record for record in records if record.signs_from <= now]
    # Denial of service: a clock that was set back must not leave the Server without a key.
    return max(started or records, key=lambda record: (record.signs_from, record.kid))


def plan_rotation(
    records: Sequence[SigningKeyRecord], *, now: datetime, policy: RotationPolicy
) -> RotationPlan:
    """
    Return what is due: a next key, an end for keys that were replaced, the removal of keys whose tokens have expired.

    Idempotent: after a plan has been carried out, the next one is empty.
    """
    if not records:
        return RotationPlan(create=True)
    active = active_key(records, now)
    upcoming = [record for record in records if record.signs_from > active.signs_from]
    due = active.signs_from + policy.rotate_every
    create = not upcoming and now >= due - policy.publish_ahead
    return RotationPlan(
        create=create,
        create_signs_from=max(due, now + policy.publish_ahead) if create else None,
        retire=[
            (record.kid, now + policy.token_ttl + policy.publish_ahead)
            for record in records
            if record.signs_from < active.signs_from and record.retires_at is None
        ],
        remove=[
            record.kid for record in records if record.retires_at is not None and now >= record.retires_at
        ],
    )
