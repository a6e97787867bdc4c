"""Public identity keys: which are taken, and how they are named."""

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


def test_the_rfcs_keys_and_thumbprint():
    """The published keys are taken and the published thumbprint comes out (RFC 8037, RFC 7638)."""
    assert parse_public_jwk(RFC8037).thumbprint == RFC8037_THUMBPRINT
    assert parse_public_jwk(RFC7517).algorithms == ("ES256",)


def test_only_the_required_members_are_kept():
    """Two spellings of one key are one key: extra members and their order change nothing."""
    plain = {name: RFC7517[name] for name in ("y", "x", "kty", "crv")}

    assert parse_public_jwk(RFC7517).canonical_jwk == parse_public_jwk(plain).canonical_jwk


@pytest.mark.parametrize("jwk", [RFC8037, RFC7517], ids=["Ed25519", "P-256"])
@pytest.mark.parametrize("spelling", [-1, 1, 2, "/", "+", "="])
def test_a_key_has_one_spelling(jwk, spelling):
    """The last character has bits that no byte is made of: with others there one key would have four thumbprints."""
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
def test_other_keys_are_refused(jwk):
    """Private halves, other kinds, other curves, points that are not on the curve and contradicting hints are refused."""
    with pytest.raises(InvalidInputError) as refused:
        parse_public_jwk(jwk)
    assert refused.value.field == "jwks"


def test_a_key_pair_survives_its_file_and_hides_its_half():
    """What is written is what is read back; the private half is in no repr."""
    key = generate_identity_key()

    again = IdentityKey.from_pem(key.to_pem())

    assert again.public.thumbprint == key.public.thumbprint
    assert repr(key) == f"IdentityKey({key.public.thumbprint})"
    assert load_public_key(key.public.canonical_jwk).thumbprint == key.public.thumbprint


@pytest.mark.parametrize("pem", [b"", b"garbage", generate_identity_key().to_pem()[:100]], ids=case)
def test_a_damaged_file_is_told(pem):
    """A file without a key raises a LyftdataError."""
    with pytest.raises(InvalidInputError):
        IdentityKey.from_pem(pem)


def test_another_curve_in_the_file_is_refused():
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
    """Return the point of an Ed25519 encoding (RFC 8032, section 5.1.3, but for the range of y)."""
    y = int.from_bytes(encoding, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0, "no point"
    return x, y % P


def doubled(point):
    """Add a point to itself (RFC 8032, section 5.1.4, in affine coordinates)."""
    x, y = point
    t = D * x * x * y * y
    return 2 * x * y * pow(1 + t, -1, P) % P, (y * y + x * x) * pow(1 - t, -1, P) % P


@pytest.mark.parametrize("encoding", sorted(_SMALL_ORDER), ids=case)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_a_point_of_small_order_is_refused(encoding, sign):
    """Eight times each is nothing, computed here; with either sign it is no identity key."""
    assert doubled(doubled(doubled(decoded(encoding)))) == (0, 1)

    x = bytes([*encoding[:31], encoding[31] | sign])
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(x).rstrip(b"=").decode()}
    with pytest.raises(InvalidInputError, match="small order"):
        parse_public_jwk(jwk)
