"""ID tokens and logout tokens of an issuer: each test has one thing wrong in a token that is otherwise valid."""

from collections.abc import Iterator
from hashlib import sha256, sha512
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tests.builders import NOON
from tests.oidc_issuer import CLIENT_ID, CLIENT_SECRET, LyingIssuer, lying_issuer, new_key
from tests.unit.core.forge import b64, hs256, join

from lyftdata.core.id_tokens import (
    Identity,
    IdTokenError,
    Logout,
    UnknownKeyError,
    check_id_token,
    check_logout_token,
    read_keys,
)

NONCE = "the nonce of this sign-in"


@pytest.fixture
def issuer() -> Iterator[LyingIssuer]:
    """Return an issuer."""
    with lying_issuer(lambda: NOON) as made:
        yield made


def keys_of(*published: ECKey | RSAKey | OKPKey | OctKey, **changes: Any) -> Any:
    """Return published keys as the Server parses them."""
    return read_keys({"keys": [key.as_dict(private=False) | changes for key in published]})


def checked(issuer: LyingIssuer, token: str, keys: Any = None) -> Identity:
    """Verify an ID token as the Server does."""
    return check_id_token(
        token,
        keys=keys_of(*issuer.published) if keys is None else keys,
        issuer=issuer.url,
        client_id=CLIENT_ID,
        nonce=NONCE,
        access_token="an-access-token",
        now=NOON,
    )


def _alg_none(issuer: LyingIssuer, claims: dict[str, Any]) -> str:
    return join({"alg": "none"}, claims, b"")


def _hs256_by_public_key(issuer: LyingIssuer, claims: dict[str, Any]) -> str:
    return hs256({"alg": "HS256", "kid": issuer.key.kid}, claims, issuer.key.as_pem(private=False))


def _hs256_by_client_secret(issuer: LyingIssuer, claims: dict[str, Any]) -> str:
    return hs256({"alg": "HS256"}, claims, CLIENT_SECRET.encode())


def _own_key_in_header(issuer: LyingIssuer, claims: dict[str, Any]) -> str:
    issuer.key = new_key(str(issuer.key.kid))
    return issuer.sign(claims, jwk=issuer.key.as_dict(private=False))


def _another_key(issuer: LyingIssuer, claims: dict[str, Any]) -> str:
    issuer.key = new_key(str(issuer.key.kid))
    return issuer.sign(claims)


def _other_type_of_key(issuer: LyingIssuer, claims: dict[str, Any]) -> str:
    issuer.key = RSAKey.generate_key(2048, {"kid": str(issuer.key.kid)}, private=True)
    return issuer.sign(claims)


@pytest.mark.parametrize(
    "forge",
    [
        _alg_none,
        _hs256_by_public_key,
        _hs256_by_client_secret,
        _own_key_in_header,
        _another_key,
        _other_type_of_key,
    ],
)
def test_an_id_token_not_signed_with_the_issuers_key_is_refused(issuer, forge):
    """No `none`, no shared secret, no key from the token: the published key determines the algorithm."""
    issuer.id_token = lambda claims: forge(issuer, claims)
    with pytest.raises(IdTokenError):
        checked(issuer, issuer.make_id_token(NONCE))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"nonce": "the nonce of another sign-in"},
        {"nonce": None},
        {"exp": int(NOON.timestamp()) - 60},
        {"exp": None},
        {"exp": True},
        {"iat": int(NOON.timestamp()) + 61},
        {"iat": int(NOON.timestamp()) - 661},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "s" * 256},
        {"at_hash": "bm90IHRoZSBoYXNo"},
        {"at_hash": 5},
        {"sid": ["a"]},
    ],
    ids=str,
)
def test_an_id_token_with_a_wrong_claim_is_refused(issuer, changes):
    """Another issuer, audience, party, sign-in, time or access token, even with a valid signature."""
    issuer.token_changes = changes
    with pytest.raises(IdTokenError):
        checked(issuer, issuer.make_id_token(NONCE))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID},
        {"at_hash": b64(sha256(b"an-access-token").digest()[:16])},
        {"exp": int(NOON.timestamp()) - 59},
        {"iat": int(NOON.timestamp()) + 60},
        {"iat": int(NOON.timestamp()) - 660},
        {"sub": "s" * 255},
    ],
    ids=str,
)
def test_an_id_token_just_within_each_limit_is_accepted(issuer, changes):
    """
    Several audiences with the client as authorized party, the right hash of the access token, clocks that differ by a minute.
    """
    issuer.token_changes = changes
    assert checked(issuer, issuer.make_id_token(NONCE)).subject


@pytest.mark.parametrize(
    ("algorithm", "key", "hash_"),
    [
        ("RS256", RSAKey.generate_key(2048, {"kid": "k"}, private=True), sha256),
        ("PS512", RSAKey.generate_key(2048, {"kid": "k"}, private=True), sha512),
        ("ES512", ECKey.generate_key("P-521", {"kid": "k"}, private=True), sha512),
        ("Ed25519", OKPKey.generate_key("Ed25519", {"kid": "k"}, private=True), sha512),
    ],
)
def test_every_listed_algorithm_is_accepted(issuer, algorithm, key, hash_):
    """RSA, elliptic curves and Ed25519; `at_hash` uses the hash of the algorithm."""
    digest = hash_(b"an-access-token").digest()
    issuer.token_changes = {"at_hash": b64(digest[: len(digest) // 2])}
    issuer.key, issuer.published = key, [key]
    issuer.id_token = lambda claims: issuer.sign(claims, alg=algorithm)
    assert checked(issuer, issuer.make_id_token(NONCE)).subject == "subject-1"


@pytest.mark.parametrize(
    "published",
    [
        keys_of(OctKey.import_key("0123456789abcdef0123456789abcdef", {"kid": "first"})),
        keys_of(new_key("first"), use="enc"),
        keys_of(new_key("first"), alg="ES384"),
        read_keys(
            {"keys": [{"kty": "RSA", "kid": "first", "e": "AQAB", "n": b64(b"\x80" + bytes(126) + b"\x01")}]}
        ),
        read_keys({"keys": [{"kty": "EC"}, "text", None, {"kty": "new", "kid": "first"}]}),
        read_keys({"keys": {}}),
        read_keys({}),
    ],
    ids=["shared", "encryption", "other-algorithm", "short", "damaged", "no-list", "empty"],
)
def test_unusable_published_keys_are_ignored(published):
    """A published shared secret, a key for encryption or another algorithm, 1,024 bits, malformed entries."""
    assert published == ()


def test_an_unknown_kid_raises_an_error_of_its_own(issuer):
    """Only then does the caller fetch the keys again. A token without `kid` is accepted if only one key is published."""
    issuer.rotate()
    with pytest.raises(UnknownKeyError):
        checked(issuer, issuer.make_id_token(NONCE), keys_of(issuer.published[0]))
    issuer.id_token = lambda claims: issuer.sign(claims, kid=None)
    token = issuer.make_id_token(NONCE)
    assert checked(issuer, token, keys_of(issuer.published[1])).subject
    with pytest.raises(IdTokenError, match="No single key"):
        checked(issuer, token)


def logout(issuer: LyingIssuer, token: str) -> Logout:
    """Verify a logout token as the Server does."""
    return check_logout_token(
        token, keys=keys_of(*issuer.published), issuer=issuer.url, client_id=CLIENT_ID, now=NOON
    )


def test_a_logout_token_names_a_session_or_a_subject(issuer):
    """Or both; its `jti` makes it single use."""
    found = logout(issuer, issuer.make_logout_token(sid="s", jti="j"))
    assert (found.subject, found.session, found.jti) == ("subject-1", "s", "j")
    assert logout(issuer, issuer.make_logout_token(sid="s", sub=None)).subject is None


@pytest.mark.parametrize(
    "changes",
    [
        {"events": None},
        {"events": {}},
        {"events": "http://schemas.openid.net/event/backchannel-logout"},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": None}},
        {"nonce": "n"},
        {"aud": "another-client"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"iat": 1},
        {"jti": None},
        {"sub": None},
    ],
    ids=str,
)
def test_an_invalid_logout_token_is_refused(issuer, changes):
    """An ID token, one for another client, an old one, one without a subject or session."""
    with pytest.raises(IdTokenError):
        logout(issuer, issuer.make_logout_token(**changes))
