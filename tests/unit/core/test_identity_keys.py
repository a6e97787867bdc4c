"""Public identity keys: which ones are accepted, and their thumbprints."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tests.builders import case

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import (
    _SMALL_ORDER,
    IdentityKey,
    generate_identity_key,
    load_public_key,
    parse_public_jwk,
)

# RFC 8037, appendix A.2 and A.3: an Ed25519 public key and its thumbprint.
RFC8037 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
# RFC 7517, appendix A.1: a P-256 public key, with members that are not required.
RFC7517 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "kid": "1",
}


def test_keys_and_the_thumbprint_match_the_rfcs():
    """The published keys are accepted, with the published thumbprint (RFC 8037, RFC 7638)."""
    assert parse_public_jwk(RFC8037).thumbprint == RFC8037_THUMBPRINT
    assert parse_public_jwk(RFC7517).algorithms == ("ES256",)


def test_only_the_required_members_are_kept():
    """Extra members and their order do not change the key."""
    plain = {name: RFC7517[name] for name in ("y", "x", "kty", "crv")}

    assert parse_public_jwk(RFC7517).canonical_jwk == parse_public_jwk(plain).canonical_jwk


@pytest.mark.parametrize("jwk", [RFC8037, RFC7517], ids=["Ed25519", "P-256"])
@pytest.mark.parametrize("spelling", [-1, 1, 2, "/", "+", "="])
def test_a_key_has_only_one_encoding(jwk, spelling):
    """The last character has unused bits: if they were ignored, one key would have four thumbprints."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = spelling if isinstance(spelling, str) else alphabet[alphabet.index(jwk["x"][-1]) + spelling]
    with pytest.raises(InvalidInputError, match="coordinates"):
        parse_public_jwk(jwk | {"x": jwk["x"][:-1] + last})


PRIVATE = ECKey.generate_key("P-256").as_dict(private=True)


@pytest.mark.parametrize(
    "jwk",
    [
        PRIVATE,
        {**RFC8037, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"},
        ECKey.generate_key("P-384").as_dict(private=False),
        ECKey.generate_key("secp256k1").as_dict(private=False),
        OKPKey.generate_key("X25519").as_dict(private=False),
        OKPKey.generate_key("Ed448").as_dict(private=False),
        RSAKey.generate_key(2048).as_dict(private=False),
        OctKey.generate_key(256).as_dict(),
        {**RFC7517, "y": RFC7517["x"]},
        {**RFC7517, "x": RFC7517["x"] + "A"},
        {**RFC7517, "x": RFC7517["x"][:-1]},
        {**RFC7517, "x": 5},
        {**RFC7517, "x": "!" * 43},
        {**RFC7517, "use": "enc"},
        {**RFC7517, "alg": "HS256"},
        {**RFC8037, "alg": "ES256"},
        {"kty": ["EC"], "crv": {}},
        {},
    ],
    ids=case,
)
def test_unsuitable_keys_are_rejected(jwk):
    """Private keys, other key types or curves, points that are not on the curve, contradicting members."""
    with pytest.raises(InvalidInputError) as refused:
        parse_public_jwk(jwk)
    assert refused.value.field == "jwks"


def test_a_key_pair_survives_its_file_and_hides_its_private_half():
    """The private half is in no repr."""
    key = generate_identity_key()

    again = IdentityKey.from_pem(key.to_pem())

    assert again.public.thumbprint == key.public.thumbprint
    assert repr(key) == f"IdentityKey({key.public.thumbprint})"
    assert load_public_key(key.public.canonical_jwk).thumbprint == key.public.thumbprint


@pytest.mark.parametrize("pem", [b"", b"garbage", generate_identity_key().to_pem()[:100]], ids=case)
def test_a_damaged_file_is_rejected(pem):
    """With an error of lyftdata's own."""
    with pytest.raises(InvalidInputError):
        IdentityKey.from_pem(pem)


def test_a_file_with_another_curve_is_rejected():
    """A P-384 key in the Worker's directory is not used."""
    from cryptography.hazmat.primitives import serialization as s

    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()
    )
    with pytest.raises(InvalidInputError):
        IdentityKey.from_pem(pem)


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def decoded(encoding):
    """Return the point of an Ed25519 encoding (RFC 8032, section 5.1.3, without the check of y's range)."""
    y = int.from_bytes(encoding, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "no point"
    return x, y % P


def doubled(point):
    """Return a point added to itself (RFC 8032, section 5.1.4, in affine coordinates)."""
    x, y = point
    t = D * x * x * y * y
    return 2 * x * y * pow(1 + t, -1, P) % P, (y * y + x * x) * pow(1 - t, -1, P) % P


@pytest.mark.parametrize("encoding", sorted(_SMALL_ORDER), ids=case)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_a_point_of_small_order_is_rejected(encoding, sign):
    """Eight times such a point is the neutral element, which is computed here; neither sign is accepted."""
    assert doubled(doubled(doubled(decoded(encoding)))) == (0, 1)

    x = bytes([*encoding[:31], encoding[31] | sign])
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(x).rstrip(b"=").decode()}
    with pytest.raises(InvalidInputError, match="small order"):
        parse_public_jwk(jwk)
