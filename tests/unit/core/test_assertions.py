"""private_key_jwt: which assertions are accepted and which are refused."""

import functools
import sys
from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey
from tests.builders import ISSUER, NOON, case, worker
from tests.unit.core.forge import altered, hs256, join, parts
from tests.unit.core.test_tokens import SIGNER

from lyftdata.core import assertions
from lyftdata.core._jose import sign
from lyftdata.core.assertions import make_assertion, read_assertion, verify_assertion
from lyftdata.core.identity_keys import generate_identity_key, parse_public_jwk
from lyftdata.core.refusals import AssertionExpiredError, WrongAssertionError
from lyftdata.core.tokens import mint_worker_token

KEY = generate_identity_key()
GOOD = make_assertion(KEY, worker_id="w-1", audience=ISSUER, now=NOON, jti="j1")
NOW_S = int(NOON.timestamp())


def verify(assertion, *, key=KEY.public, worker_id="w-1", now=NOON):
    """Verify an assertion."""
    return verify_assertion(
        read_assertion(assertion),
        key=key,
        worker_id=worker_id,
        audiences=(ISSUER, f"{ISSUER}/oauth2/token"),
        now=now,
    )


def signed(header=None, **claims):
    """Return an assertion signed with the right key, with the given claims; None removes one."""
    given = {"iss": "w-1", "sub": "w-1", "aud": ISSUER, "jti": "j", "iat": NOW_S, "exp": NOW_S + 60} | claims
    return sign(
        {"alg": "ES256", **(header or {})},
        {k: v for k, v in given.items() if v is not None},
        key=KEY.jose_key,
    )


def test_a_valid_assertion_returns_its_jti_and_expiry():
    """The caller needs both to make it single use."""
    verified = verify(GOOD)

    assert (verified.jti, verified.expires_at) == ("j1", NOON + timedelta(seconds=60))


@pytest.mark.parametrize("audience", [ISSUER, f"{ISSUER}/oauth2/token", [ISSUER, "https://other"]])
def test_the_issuer_and_the_token_endpoint_are_accepted_audiences(audience):
    """RFC 7523 clients name either one, alone or in a list."""
    assert verify(signed(aud=audience))


@pytest.mark.parametrize("algorithm", ["Ed25519", "EdDSA"])
def test_ed25519_is_accepted_under_both_of_its_names(algorithm):
    """Clients may use the name of RFC 9864 or the older one."""
    key = OKPKey.generate_key("Ed25519")
    claims = {"iss": "w-1", "sub": "w-1", "aud": ISSUER, "jti": "j", "exp": NOW_S + 60}
    if algorithm == "EdDSA":
        with pytest.warns(match="EdDSA"):
            token = jwt.encode({"alg": algorithm}, claims, key, algorithms=[algorithm])
    else:
        token = jwt.encode({"alg": algorithm}, claims, key, algorithms=[algorithm])

    assert verify(token, key=parse_public_jwk(key.as_dict(private=False)))


def calls_of(check):
    """Return how many functions a check calls, in Python and in C."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        check()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("kind", "curve", "algorithm"), [(ECKey, "P-256", "ES256"), (OKPKey, "Ed25519", "Ed25519")]
)
def test_the_first_check_with_a_key_does_as_much_work_as_the_next(kind, curve, algorithm):
    """Otherwise the time of a Worker's first assertion after the Server's start would reveal that its ID exists."""
    counts = []
    for key in (kind.generate_key(curve), kind.generate_key(curve)):
        claims = {"iss": "w-1", "sub": "w-1", "aud": ISSUER, "jti": "j", "exp": NOW_S + 60}
        assertion = jwt.encode({"alg": algorithm}, claims, key, algorithms=[algorithm])
        check = functools.partial(verify, assertion, key=parse_public_jwk(key.as_dict(private=False)))
        counts = [calls_of(check), calls_of(check)]

    # Of the second key: with the first one, Python itself does some one-time work.
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "wrong",
    [
        signed(iss="w-2"),
        signed(sub="w-2"),
        signed(aud="https://other"),
        signed(aud=[]),
        signed(aud=None),
        signed(aud=5),
        signed(jti=None),
        signed(jti=""),
        signed(jti="j" * 129),
        signed(jti=7),
        signed(exp=None),
        signed(exp="soon"),
        signed(exp=True),
        signed(exp=-5),
        signed(iat=None, exp=NOW_S + 331),
        signed(exp=2**60),
        signed(nbf="x"),
        signed({"typ": "at+jwt"}),
        signed({"typ": "lyftdata-enrollment-proof+jwt"}),
        altered(GOOD, header={"crit": ["exp"]}),
        make_assertion(generate_identity_key(), worker_id="w-1", audience=ISSUER, now=NOON, jti="j"),
        altered(GOOD, header={"alg": "none"}),
        join({"alg": "none"}, parts(GOOD)[1], b""),
        altered(GOOD, claims={"jti": "j2"}),
        hs256({"alg": "HS256"}, parts(GOOD)[1], KEY.public.canonical_jwk.encode()),
        hs256({"alg": "HS256"}, parts(GOOD)[1], KEY.public.thumbprint.encode()),
        GOOD + "x",
        "",
        "a.b.c",
    ],
    ids=case,
)
def test_an_assertion_that_does_not_prove_the_worker_is_refused(wrong):
    """Another key, Worker, audience, type or algorithm; a claim that is missing or of the wrong type."""
    with pytest.raises(WrongAssertionError):
        verify(wrong)


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"iat": NOW_S - 15000, "exp": NOW_S - 14940}, "4h9m"),
        ({"iat": NOW_S + 3600, "exp": NOW_S + 3660}, "1h"),
        ({"nbf": NOW_S + 31, "exp": NOW_S + 60}, "31s"),
        ({"exp": NOW_S - 30}, "30s"),
    ],
)
def test_a_refusal_for_a_skewed_clock_says_by_how_much(claims, words):
    """So that the operator can read how far the clocks are apart."""
    with pytest.raises(AssertionExpiredError) as refused:
        verify(signed(**claims))
    assert words in refused.value.detail


@pytest.mark.parametrize(
    "claims", [{"exp": NOW_S - 29}, {"iat": NOW_S + 30}, {"nbf": NOW_S + 30}, {"exp": NOW_S + 330}]
)
def test_the_leeway_is_thirty_seconds(claims):
    """The clocks may differ by that much in either direction."""
    assert verify(signed(**claims))


def test_an_assertion_of_a_worker_without_a_key_is_refused():
    """Whatever it contains."""
    with pytest.raises(WrongAssertionError):
        verify(GOOD, key=None)


def test_the_decoy_key_authenticates_no_worker(monkeypatch):
    """Even a valid signature with the key that is used for unknown Workers is refused."""
    monkeypatch.setattr(assertions, "_DECOY_KEY_ES256", KEY.public)
    with pytest.raises(WrongAssertionError):
        verify(GOOD, key=None)


def test_a_worker_token_is_not_an_assertion():
    """A stolen worker token cannot be exchanged for another one."""
    token = mint_worker_token(
        signer=SIGNER,
        issuer=ISSUER,
        audience=ISSUER,
        worker=worker("w-1"),
        credential="key.a.1",
        now=NOON,
        ttl_s=60,
        jti="j",
    )
    with pytest.raises(WrongAssertionError):
        verify(token, key=parse_public_jwk(SIGNER.jose_key.as_dict(private=False)))


@pytest.mark.parametrize(("text", "seen"), [(GOOD, "w-1"), (signed(sub=5), None)], ids=case)
def test_only_the_subject_is_read_before_verification(text, seen):
    """It is only used to look up the Worker; a subject that is not a string gives None."""
    assert read_assertion(text).unsafe_client_id() == seen


@pytest.mark.parametrize("text", ["junk", "a.b.c"])
def test_malformed_text_is_refused(text):
    """Text that cannot be split into three parts is refused before any look-up."""
    with pytest.raises(WrongAssertionError):
        read_assertion(text)


@pytest.mark.parametrize(("seconds_old", "good"), [(0, True), (329, True), (330, False), (3_000, False)])
def test_a_long_lived_assertion_is_accepted_for_five_minutes(seconds_old, good):
    """Some clients sign for an hour. It is accepted and remembered for as long as any other, counted from its `iat`."""
    token = signed(iat=NOW_S - seconds_old, exp=NOW_S - seconds_old + 3_600)
    if good:
        assert verify(token).expires_at.timestamp() == NOW_S - seconds_old + 300
    else:
        with pytest.raises(AssertionExpiredError):
            verify(token)
