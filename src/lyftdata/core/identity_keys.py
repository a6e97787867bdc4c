"""
Workers' identity key pairs: P-256 (ES256) for the agent, and Ed25519 from other clients.

The public half identifies a Worker: as a canonical JWK and by its RFC 7638 thumbprint. The private half never leaves the
Worker.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.core.errors import InvalidInputError

_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# 32 bytes in canonical base64url (RFC 7515, section 2): the last character carries four bits. Aliasing: with several spellings of
# one point, a key would have several thumbprints, and could be registered again after its entry was superseded.
_COORDINATE = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
# Forgery without a key: the encodings of the 8 Ed25519 points of small order, under which signatures can be made without a private
# key. The top bit is the sign of x, and is masked before comparison. RFC 8032, section 5.1.7, does not require refusing them.
_SMALL_ORDER = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
_ALGORITHMS = {"P-256": ("ES256",), "Ed25519": ("Ed25519", "EdDSA")}


class PublicIdentityKey(msgspec.Struct, frozen=True):
    """
    The public half of an identity key.

    `canonical_jwk` holds only the required members, sorted (RFC 7638, section 3.2); `algorithms` are the `alg`
    values that this key may sign with.
    """

    canonical_jwk: str
    thumbprint: str
    algorithms: tuple[str, ...]
    key: ECKey | OKPKey

    def as_dict(self) -> dict[str, str]:
        """Return the JWK as an object."""
        return msgspec.json.decode(self.canonical_jwk, type=dict[str, str])


class IdentityKey:
    """A Worker's own key pair; its repr shows only the thumbprint."""

    algorithm = "ES256"

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.jose_key = ECKey.import_key(self.to_pem())
        self.public = parse_public_jwk(self.jose_key.as_dict(private=False))

    @classmethod
    def from_pem(cls, pem: bytes) -> "IdentityKey":
        """
        Read PKCS #8 PEM.

        Raises:
            InvalidInputError: Not a P-256 private key.
        """
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise InvalidInputError("identity_key", "is not a private key in PEM form") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise InvalidInputError("identity_key", "is not a P-256 key")
        return cls(private)

    def to_pem(self) -> bytes:
        """Return unencrypted PKCS #8 PEM, for the Worker's own file with mode 0600."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"IdentityKey({self.public.thumbprint})"


def generate_identity_key() -> IdentityKey:
    """Make a P-256 key pair."""
    return IdentityKey(ec.generate_private_key(ec.SECP256R1()))


def parse_public_jwk(unverified: Mapping[str, Any]) -> PublicIdentityKey:
    """
    Read a public key as a client sent it (RFC 7517).

    Raises:
        InvalidInputError: It has private members, is not a P-256 or Ed25519 key, or the point is not on the curve.
    """
    if _PRIVATE_MEMBERS & unverified.keys():
        # Key disclosure: refused rather than stripped, since a private key that was sent once may have been seen. `k` is in the list
        # too: this Server would know a symmetric key, and could then sign for the Worker.
        raise InvalidInputError(
            "jwks", "holds a private key: send the public half only, and make a new key pair"
        )
    required = _required_members(unverified)
    return _parse_canonical(msgspec.json.encode(dict(sorted(required.items()))).decode())


# Cached, since a key is parsed when a Worker asks to enroll, and again when its entry is added to the directory: computing the
# point takes longer than everything else that an enrollment does in the event loop.
@functools.lru_cache(maxsize=1_024)
def _parse_canonical(canonical: str) -> PublicIdentityKey:
    required = msgspec.json.decode(canonical, type=dict[str, str])
    try:
        key = _build(required)
    except (JoseError, ValueError, TypeError) as error:
        raise InvalidInputError("jwks", "is not a valid public key") from error
    if required["crv"] == "Ed25519":
        _check_order(required["x"])
    digest = hashlib.sha256(canonical.encode()).digest()
    thumbprint = base64url(digest)
    return PublicIdentityKey(canonical, thumbprint, _ALGORITHMS[required["crv"]], key)


def _build(required: dict[str, str]) -> ECKey | OKPKey:
    if required["kty"] == "OKP":
        octets = OKPKey.import_key(dict(required))
        _ = octets.public_key  # raises if it is not a point
        return octets
    # Without joserfc's JWK import, which takes four times as long as the point itself: the members have been checked already.
    x, y = (int.from_bytes(decode_base64url(required[name])) for name in ("x", "y"))
    # Invalid-curve attack: a point that is not on P-256 raises here (RFC 8725, section 3.4).
    point = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    # Enumeration: joserfc caches what the first check with a key needs (the members, which it exports if they are not given, and
    # the public half). If the first check had to build it, the time of a Worker's first assertion would reveal that its ID exists.
    key = ECKey(point, dict(required))
    _ = key.public_key
    return key


def _check_order(x: str) -> None:
    point = bytearray(decode_base64url(x))
    point[31] &= 0x7F
    if bytes(point) in _SMALL_ORDER:
        raise InvalidInputError("jwks", "is a point of small order, for which anyone could sign")


def load_public_key(canonical_jwk: str) -> PublicIdentityKey:
    """Return a stored key; it was checked at registration, and is checked again."""
    return parse_public_jwk(msgspec.json.decode(canonical_jwk, type=dict[str, str]))


def _required_members(unverified: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that define the key (RFC 7638, section 3.2); refuse other key types and a contradicting `use` or `alg`."""
    kind = (str(unverified.get("kty")), str(unverified.get("crv")))
    names = {("EC", "P-256"): ("crv", "kty", "x", "y"), ("OKP", "Ed25519"): ("crv", "kty", "x")}.get(kind)
    if names is None:
        raise InvalidInputError("jwks", "must be a P-256 or an Ed25519 key")
    if unverified.get("use", "sig") != "sig":
        raise InvalidInputError("jwks", "must be for signatures (use)")
    if unverified.get("alg", _ALGORITHMS[kind[1]][0]) not in _ALGORITHMS[kind[1]]:
        raise InvalidInputError("jwks", "alg does not fit the key")
    members = {name: unverified.get(name) for name in names}
    texts = [members[name] for name in names[2:]]
    if not all(isinstance(text, str) and _COORDINATE.fullmatch(text) for text in texts):
        raise InvalidInputError("jwks", "its coordinates must be 32 bytes in base64url")
    return {name: str(value) for name, value in members.items()}
