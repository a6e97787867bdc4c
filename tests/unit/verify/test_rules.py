"""The rules for a token: what proves a Worker, and which forged, altered, expired or misdirected tokens are refused."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey, RSAKey
from tests.builders import ISSUER, NOON, case
from tests.unit.core.forge import altered, b64, hs256, join, parts
from tests.unit.verify.peer import AUDIENCE, ED25519, ES256, OTHER_KEY, jwks_of, mint, resigned

from lyftdata.core.assertions import make_assertion
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.verify import TokenNotOursError, VerificationError
from lyftdata.verify._keys import KeyCache, Step, fresh_for_s, read_jwks
from lyftdata.verify._memory import token_digest
from lyftdata.verify._requests import refusal_answer
from lyftdata.verify._rules import Expected, verify_token
from lyftdata.verify.errors import KeysUnavailableError, TokenMalformedError, WrongAudienceError

KEYS = read_jwks(jwks_of(ES256.public_jwk(), ED25519.public_jwk()), cache_control="").by_kid
EXPECTED = Expected(issuer=ISSUER, audience=AUDIENCE, leeway_s=30)
NOON_S = NOON.timestamp()


def verify(token, *, now_s=NOON_S, keys=KEYS, expected=EXPECTED):
    """Verify a token at noon; return the Worker."""
    return verify_token(token, keys=keys, expected=expected, now_s=now_s).worker


def refusal(token, **how):
    """Return the code with which a token is refused, or None."""
    try:
        verify(token, **how)
    except VerificationError as error:
        return error.code
    return None


@pytest.mark.parametrize("signer", [ES256, ED25519], ids=lambda key: key.algorithm)
def test_the_identity_has_everything_in_the_token(signer):
    """ID, name, strategy, labels, scopes, audience and times, as the Server wrote them."""
    found = verify(resigned(mint(signer), claims={"scope": "jobs:read jobs:write"}, signer=signer))

    assert (found.worker_id, found.name, found.strategy) == ("w-17", "Prëss ✓", "api_key")
    assert dict(found.labels) == {"zone": "eu-1", "gpu": ""}
    assert found.scopes == {"jobs:read", "jobs:write"}
    assert (found.audience, found.token_id) == (AUDIENCE, "j1")
    assert (found.issued_at, found.expires_at) == (NOON, NOON + timedelta(minutes=15))


def test_an_identity_is_immutable():
    """One object serves many requests, and none of them may change what the next one reads."""
    found = verify(mint())

    with pytest.raises(AttributeError):
        found.worker_id = "w-18"
    with pytest.raises(TypeError):
        found.labels["admin"] = ""


@pytest.mark.parametrize(("seconds_left", "code"), [(1, None), (0, "token_expired"), (-1, "token_expired")])
def test_a_token_expires_at_exp(seconds_left, code):
    """From exactly that second on, whatever the leeway."""
    assert refusal(mint(), now_s=NOON_S + 900 - seconds_left) == code


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize(("ahead_s", "code"), [(30, None), (31, "token_not_yet_valid")])
def test_a_token_from_the_future_is_valid_within_the_leeway(claim, ahead_s, code):
    """The leeway applies to the beginning of a token's validity, for clocks that differ."""
    assert refusal(resigned(mint(), claims={claim: int(NOON_S) + ahead_s})) == code


PUBLIC_PEM = ES256.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_DER = ES256.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
HEADER, CLAIMS, SIGNATURE = parts(mint())


@pytest.mark.parametrize(
    ("forged", "code"),
    [
        (join({**HEADER, "alg": "none"}, CLAIMS, b""), "token_signature"),
        (altered(mint(), header={"alg": "none"}), "token_signature"),
        (altered(mint(), header={"alg": "None"}), "token_signature"),
        (altered(mint(), header={"alg": None}), "token_signature"),
        (hs256({**HEADER, "alg": "HS256"}, CLAIMS, PUBLIC_PEM), "token_signature"),
        (hs256({**HEADER, "alg": "HS256"}, CLAIMS, PUBLIC_DER), "token_signature"),
        (hs256({**HEADER, "alg": "HS256"}, CLAIMS, b""), "token_signature"),
        (hs256(HEADER, CLAIMS, PUBLIC_PEM), "token_signature"),
        (resigned(mint(), header={"alg": "Ed25519"}), "token_signature"),
        (resigned(mint(), header={"alg": "ES384"}), "token_signature"),
        (resigned(mint(ED25519), header={"alg": "ES256"}, signer=ED25519), "token_signature"),
        (resigned(mint(), header={"kid": ED25519.kid}), "token_signature"),
        (resigned(mint(), signer=OTHER_KEY), "token_signature"),
        (altered(mint(), claims={"sub": "w-18", "client_id": "w-18"}), "token_signature"),
        (altered(mint(), claims={"exp": 2**32}), "token_signature"),
        (altered(mint(), claims={"scope": "admin"}), "token_signature"),
        (join(HEADER, CLAIMS, SIGNATURE + b"\x00"), "token_signature"),
        (join(HEADER, CLAIMS, SIGNATURE[:32]), "token_signature"),
        (join(HEADER, CLAIMS, bytes(64)), "token_signature"),
        (mint(OTHER_KEY), "unknown_key"),
        (resigned(mint(), header={"kid": None}), "unknown_key"),
        (resigned(mint(), header={"kid": "../../etc/passwd"}), "unknown_key"),
        (resigned(mint(), header={"kid": ""}), "unknown_key"),
        (resigned(mint(), header={"typ": "JWT"}), "token_malformed"),
        (resigned(mint(), header={"typ": None}), "token_malformed"),
        (resigned(mint(), header={"kid": ["a"]}), "token_malformed"),
        (resigned(mint(), header={"crit": ["exp"]}), "token_malformed"),
        (resigned(mint(), header={"jwk": OTHER_KEY.public_jwk()}, signer=OTHER_KEY), "token_malformed"),
        (resigned(mint(), header={"jku": "https://evil.example/jwks"}), "token_malformed"),
        (resigned(mint(), header={"x5u": "https://evil.example/cert"}), "token_malformed"),
        (resigned(mint(), header={"b64": "false"}), "token_malformed"),
        (mint(issuer="https://evil.example"), "wrong_issuer"),
        (mint(issuer=f"{ISSUER}/"), "wrong_issuer"),
        (mint(issuer=ISSUER.upper()), "wrong_issuer"),
        (mint(audience="https://other.example"), "wrong_audience"),
        (mint(audience=f"{AUDIENCE}/"), "wrong_audience"),
        (mint(audience=AUDIENCE[:-1]), "wrong_audience"),
        (mint(audience=ISSUER), "wrong_audience"),
        (resigned(mint(), claims={"aud": [ISSUER, "https://other.example"]}), "wrong_audience"),
        (mint() + "A", "token_signature"),
        (mint() + ".", "token_malformed"),
        (mint() + "=", "token_malformed"),
        (" " + mint(), "token_malformed"),
        (mint() + "\n", "token_malformed"),
        ("", "token_malformed"),
        ("..", "token_malformed"),
        ("a.b.c", "token_malformed"),
        ("é.é.é", "token_malformed"),
        (join([], CLAIMS, SIGNATURE), "token_malformed"),
        (join(HEADER, [], SIGNATURE), "token_malformed"),
        (mint().rpartition(".")[0], "token_malformed"),
        ("x" * 4097, "token_malformed"),
        (resigned(mint(), claims={"labels": {"a": "x" * 3500}}), "token_malformed"),
    ],
    ids=case,
)
def test_an_invalid_token_is_refused_with_its_code(forged, code):
    """Wrong algorithm, key, type, issuer, audience, encoding or length."""
    assert refusal(forged) == code


@pytest.mark.parametrize(
    "claims",
    [
        *({name: None} for name in CLAIMS if name != "cred"),
        {"exp": "1795520569"},
        {"exp": True},
        {"exp": 1e400},
        {"exp": -1},
        {"exp": 2**33},
        {"iat": "now"},
        {"nbf": "now"},
        {"sub": 5},
        {"sub": ""},
        {"sub": "x" * 257, "client_id": "x" * 257},
        {"client_id": "w-18"},
        {"aud": {"a": 1}},
        {"aud": []},
        {"aud": [5]},
        {"aud": [AUDIENCE] * 9},
        {"labels": ["x"]},
        {"labels": {"a": 1}},
        {"scope": ["a"]},
    ],
    ids=str,
)
def test_claims_of_the_wrong_type_are_refused_even_if_signed(claims):
    """Even if the Server signed nonsense, it would not be accepted as a Worker."""
    assert refusal(resigned(mint(), claims=claims)) == "token_malformed"


def test_one_of_several_audiences_is_enough():
    """A token for two services is valid at both (RFC 7519, section 4.1.3)."""
    assert verify(resigned(mint(), claims={"aud": ["https://other.example", AUDIENCE]})).audience == AUDIENCE


@pytest.mark.parametrize("cnf", [{"jkt": "x"}, {}, {"x5t#S256": "x"}, "x", False])
def test_a_bound_token_is_refused_as_a_bearer_token(cnf):
    """A thief must not be able to use it where no proof of possession (DPoP) is required."""
    assert refusal(resigned(mint(), claims={"cnf": cnf})) == "token_bound"


def test_a_bound_token_minted_by_the_server_is_refused():
    """With the same code."""
    assert refusal(mint(bound_to="NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")) == "token_bound"


def test_scopes_are_read_as_the_server_writes_them():
    """The Server and the verifier agree on their format."""
    assert verify(mint(scope="jobs:read jobs:write")).scopes == {"jobs:read", "jobs:write"}


def test_an_assertion_is_not_an_access_token():
    """A Worker's assertion for the Server is refused by services, even if its key were published."""
    key = generate_identity_key()
    published = read_jwks(
        jwks_of({**key.public.as_dict(), "kid": key.public.thumbprint}), cache_control=""
    ).by_kid
    assertion = make_assertion(key, worker_id="w-17", audience=AUDIENCE, now=NOON, jti="j")

    assert refusal(assertion, keys=published) == "token_malformed"


@pytest.mark.parametrize(
    ("alg_of_key", "alg_of_token", "code"),
    [
        ("Ed25519", "Ed25519", None),
        ("Ed25519", "EdDSA", "token_signature"),
        ("EdDSA", "EdDSA", None),
        (None, "EdDSA", None),
        (None, "Ed25519", None),
        (None, "ES256", "token_signature"),
    ],
)
def test_the_key_determines_the_algorithm(alg_of_key, alg_of_token, code):
    """Only the JWK's `alg` is accepted; without one, the algorithms of its key type."""
    jwk = {name: value for name, value in ED25519.public_jwk().items() if name != "alg"}
    keys = read_jwks(jwks_of(jwk | ({"alg": alg_of_key} if alg_of_key else {})), cache_control="").by_kid
    header = b64(f'{{"alg":"{alg_of_token}","kid":"{ED25519.kid}","typ":"at+jwt"}}'.encode())
    message = f"{header}.{mint().split('.')[1]}"

    assert refusal(f"{message}.{b64(ED25519.sign(message.encode()))}", keys=keys) == code


def test_an_unknown_key_is_fetched_only_if_the_rest_of_the_token_fits():
    """Another Server's token, one for another service and an expired one cause no request to the Server."""
    unacceptable = [
        mint(OTHER_KEY, issuer="https://evil.example"),
        mint(OTHER_KEY, audience="https://other.example"),
        mint(OTHER_KEY, ttl_s=0),
        resigned(mint(), header={"kid": "x"}, claims={"exp": "x"}),
    ]

    from lyftdata.verify.errors import UnknownKeyError

    for token in unacceptable:
        with pytest.raises(UnknownKeyError) as refused:
            verify(token)
        assert not refused.value.worth_fetching
    with pytest.raises(UnknownKeyError) as refused:
        verify(mint(OTHER_KEY))
    assert refused.value.worth_fetching


@given(st.data())
def test_no_mutation_of_a_token_verifies(data):
    """If any one character is changed, the token is refused."""
    token = mint()
    at = data.draw(st.integers(0, len(token) - 1))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/"
    character = data.draw(st.sampled_from(alphabet).filter(lambda c: c != token[at]))

    with pytest.raises(TokenNotOursError):
        verify(token[:at] + character + token[at + 1 :])


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused(text):
    """And never crashes the verifier."""
    with pytest.raises(TokenNotOursError):
        verify(text)


# --- the JWK Set ----------------------------------------------------------------------------------------


def test_unsuitable_keys_in_a_jwk_set_are_skipped():
    """Of another type, for encryption, without `kid`, private or invalid; the suitable one is still used."""
    rsa = RSAKey.generate_key(2048).as_dict(private=False)
    private = OTHER_KEY.jose_key.as_dict(private=True) | {"kid": "leaked"}
    encryption = OTHER_KEY.public_jwk() | {"use": "enc", "kid": "e"}
    nameless = {name: value for name, value in OTHER_KEY.public_jwk().items() if name != "kid"}
    secret = OctKey.import_key("secret" * 8).as_dict() | {"kid": ES256.kid}
    small_order = {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32)), "kid": "small"}
    off_curve = OTHER_KEY.public_jwk() | {"y": b64(bytes(32)), "kid": "off"}
    bad: list[dict[str, Any]] = [
        {**rsa, "kid": "rsa"},
        private,
        encryption,
        nameless,
        secret,
        small_order,
        off_curve,
        {},
    ]

    found = read_jwks(jwks_of(*bad, ES256.public_jwk()), cache_control="").by_kid

    assert list(found) == [ES256.kid]


def test_the_number_of_keys_in_a_jwk_set_is_limited():
    """A Server or a proxy cannot make a service validate any number of curve points."""
    keys = [ES256.public_jwk() | {"kid": f"k{number}"} for number in range(70)]

    assert len(read_jwks(jwks_of(*keys), cache_control="").by_kid) == 64


def test_in_an_outage_no_request_waits_for_a_retry():
    """After a failed fetch, stale keys are refreshed in the background; only the first caller has waited."""
    cache = KeyCache(outage_grace_s=1_000, kid_retry_s=10)
    published = read_jwks(jwks_of(ES256.public_jwk()), cache_control="max-age=60")
    cache.succeeded(published, asked_at_s=0)
    assert cache.next_step(61) is Step.FETCH_AND_WAIT

    cache.failed("no answer", now_s=61)

    assert cache.next_step(200) is Step.FETCH_BEHIND


def test_the_length_is_checked_before_a_token_is_hashed():
    """The work must not grow with what an unproven caller sends."""
    with pytest.raises(TokenMalformedError, match="longer than"):
        token_digest("x" * 4_097)


def test_the_answer_to_a_refused_request_does_not_say_what_was_wrong():
    """Which claim failed is in the service's log; a forger could learn from it."""
    _, headers, body = refusal_answer(WrongAudienceError("It is meant for the vault."), "lyftdata")

    assert "vault" not in f"{headers}{body!r}"


def test_of_two_keys_with_one_kid_the_first_is_used():
    """A key that is appended with a known `kid` does not replace the known one."""
    found = read_jwks(
        jwks_of(ES256.public_jwk(), OTHER_KEY.public_jwk() | {"kid": ES256.kid}), cache_control=""
    )

    assert verify(mint(), keys=found.by_kid)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys": []}', b'{"keys": [5]}', b"\xff", b"[" * 50_000]
)
def test_an_invalid_jwk_set_counts_as_no_answer(body):
    """As if the Server were down."""
    with pytest.raises(KeysUnavailableError):
        read_jwks(body, cache_control="")


@pytest.mark.parametrize(
    ("cache_control", "fresh_s"),
    [
        ("public, max-age=300", 300),
        ("max-age=0", 30),
        ("max-age=29", 30),
        ("max-age=31", 31),
        ("max-age=3600", 3600),
        ("max-age=3601", 3600),
        ("max-age=999999999999", 300),
        ("", 300),
        ("MAX-AGE = 60", 60),
        ('max-age="60"', 60),
        ("s-maxage=60", 300),
        ("x-max-age=60", 300),
        ("max-age=-5", 300),
        ("no-store", 30),
        ("no-cache, max-age=600", 30),
    ],
)
def test_max_age_is_limited_to_sensible_bounds(cache_control, fresh_s):
    """From half a minute to an hour; without a `max-age` it is five minutes."""
    assert fresh_for_s(cache_control) == fresh_s


def test_the_kids_in_these_tests_are_thumbprints():
    """As with a real Server's keys."""
    assert base64.urlsafe_b64decode(ES256.kid + "=")
    assert set(KEYS) == {ES256.kid, ED25519.kid}
