"""`lyftdata.testing` matches a real Server: claim by claim, header by header, answer by answer."""

import json
import sys
import time
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from tests.builders import ENROLLMENT_KEY
from tests.unit.core.forge import parts

from lyftdata.core.identity_keys import generate_identity_key, parse_public_jwk
from lyftdata.core.tokens import parse_credential
from lyftdata.testing import FakeResource, FakeServer

FILES = "https://files.example.com"
SCOPES = ("jobs:read", "jobs:write")
LABELS = {"zone": "eu-1", "gpu": ""}
# These depend on the time and the Server, so only their form is compared.
SERVER_SPECIFIC = {"iss", "jti", "iat", "exp", "cred"}

PROOF_PROGRAM = """
import sys
from lyftdata.client import TokenKeeper
print(TokenKeeper.from_environment().get())
print(TokenKeeper.from_environment(resource=sys.argv[1]).get())
"""


class Real:
    """A real Server with a Worker of each strategy and a resource."""

    def __init__(self, site):
        self.url = site.url
        scopes = [word for scope in SCOPES for word in ("--scope", scope)]
        who = ("--all-workers", "--include-enrolled")
        site.operator.done("resources", "add", "files", "--audience", FILES, *scopes, *who)
        self.resource = FakeResource(
            "files", FILES, site.operator.done("resources", "issue-key", "files").strip()
        )
        self.api_key = site.operator.done(
            "workers", "add", "press-01", "--id", "press-01", "--issue-key"
        ).strip()
        site.operator.done("workers", "label", "press-01", "zone=eu-1", "gpu")
        environ = {"LYFTDATA_WORKER_NAME": "press-02", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
        enrolled = site.worker_host("b", **environ, LYFTDATA_WORKER_LABELS="zone=eu-1,gpu")
        command = (sys.executable, "-c", PROOF_PROGRAM, FILES)
        self.enrolled = enrolled.done("run", "worker", "--", *command).split()
        self.by_key = [self.answer(resource=FILES)["access_token"], self.answer()["access_token"]][::-1]

    def answer(self, **wanted):
        """Return the token endpoint's answer to the Worker with the key."""
        return token_answer(self.url, self.api_key, wanted).json()


def token_answer(url, api_key, wanted, headers=None):
    """Ask a Server for a token as press-01."""
    form = {"grant_type": "client_credentials", "client_id": "press-01", "client_secret": api_key}
    return httpx2.post(f"{url}/oauth2/token", data=form | wanted, headers=headers, timeout=180)


@pytest.fixture
def real(site):
    """Return a real Server."""
    return Real(site)


@pytest.fixture
def fake():
    """Return a fake Server."""
    with FakeServer() as server:
        yield server


def check_same_token(ours: str, theirs: str, fake: FakeServer) -> None:
    """Check that two tokens differ only in the Server that signed them and the time."""
    (header, claims, signature), (real_header, real_claims, real_signature) = parts(ours), parts(theirs)
    assert list(header) == list(real_header)
    assert {**header, "kid": ""} == {**real_header, "kid": ""}
    assert len(header["kid"]) == len(real_header["kid"])
    assert len(signature) == len(real_signature)
    assert list(claims) == list(real_claims)
    server_specific = SERVER_SPECIFIC | ({"aud"} if claims["aud"] == fake.issuer else set())
    assert without(claims, server_specific) == without(real_claims, server_specific)
    assert {name: type(claims[name]) for name in server_specific} == {
        name: type(real_claims[name]) for name in server_specific
    }
    assert len(claims["jti"]) == len(real_claims["jti"])
    assert claims["exp"] - claims["iat"] == real_claims["exp"] - real_claims["iat"]
    cred, real_cred = parse_credential(claims["cred"]), parse_credential(real_claims["cred"])
    assert (cred.kind, len(cred.value)) == (real_cred.kind, len(real_cred.value))
    assert len(str(cred.epoch)) == len(str(real_cred.epoch))


def without(members: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return a JSON object without some of its members."""
    return {name: value for name, value in members.items() if name not in names}


def test_the_fake_servers_tokens_and_answers_match_a_real_servers(real, fake):
    """Tokens of each strategy for the Server and for a resource, metadata, keys, and the answers to checks of a token."""
    check_tokens(real, fake)
    check_documents(real, fake)
    check_token_answers(real, fake)
    check_online_checks(real, fake)


def check_tokens(real, fake):
    """Compare each kind of token."""
    fields: Any = {"labels": LABELS}
    for_files: Any = {**fields, "audience": FILES, "scopes": SCOPES}
    check_same_token(fake.token("press-01", **fields), real.by_key[0], fake)
    check_same_token(fake.token("press-01", **for_files), real.by_key[1], fake)
    enrolled_id = parts(real.enrolled[0])[1]["sub"]
    who: Any = {"name": "press-02", "strategy": "auto_enrollment"}
    check_same_token(fake.token(enrolled_id, **who, **fields), real.enrolled[0], fake)
    check_same_token(fake.token(enrolled_id, **who, **for_files), real.enrolled[1], fake)
    key = generate_identity_key()
    url, wanted = f"{real.url}/oauth2/token", {"resource": FILES}
    # The first answer has the nonce that the Server requires (RFC 9449, section 8).
    first = token_answer(real.url, real.api_key, wanted, headers={"DPoP": proof(key, url)})
    signed = proof(key, url, nonce=first.headers["dpop-nonce"])
    bound = token_answer(real.url, real.api_key, wanted, headers={"DPoP": signed}).json()["access_token"]
    check_same_token(fake.token("press-01", **for_files, bound_to=key.public.thumbprint), bound, fake)


def proof(key, url, **claims):
    """Make a proof of possession for a token request (RFC 9449, section 4.2)."""
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public.as_dict()}
    given = {"htm": "POST", "htu": url, "iat": int(time.time()), "jti": f"d{len(claims)}"}
    return jwt.encode(header, given | claims, key.jose_key)


def check_documents(real, fake):
    """Compare the documents that each publishes."""
    for path in ("oauth-authorization-server", "jwks.json"):
        ours = httpx2.get(f"{fake.url}/.well-known/{path}", timeout=180)
        theirs = httpx2.get(f"{real.url}/.well-known/{path}", timeout=180)
        for name in ("content-type", "cache-control"):
            assert ours.headers[name] == theirs.headers[name]
        if path == "jwks.json":
            (key,), (real_key, *_) = ours.json()["keys"], theirs.json()["keys"]
            assert list(key) == list(real_key)
            assert without(key, {"x", "y", "kid"}) == without(real_key, {"x", "y", "kid"})
            assert key["kid"] == parse_public_jwk(key).thumbprint
            assert real_key["kid"] == parse_public_jwk(real_key).thumbprint
        else:
            assert json.loads(ours.text.replace(fake.url, real.url)) == theirs.json()


def check_token_answers(real, fake):
    """Compare the answers of the token endpoint."""
    fake.add_resource("files", audience=FILES, scopes=SCOPES)
    environ = fake.add_worker("press-01", labels=LABELS).environ
    wanted: list[dict[str, str]] = [
        {},
        {"resource": FILES},
        {"resource": f"{FILES}/"},
        {"resource": FILES, "scope": "jobs:read"},
        {"scope": "jobs:read"},
    ]
    for one in wanted:
        ours = token_answer(fake.url, environ["LYFTDATA_WORKER_API_KEY"], one)
        theirs = token_answer(real.url, real.api_key, one)
        assert without(ours.json(), {"access_token"}) == without(theirs.json(), {"access_token"})
        assert ours.headers["cache-control"] == theirs.headers["cache-control"]
        check_same_token(ours.json()["access_token"], theirs.json()["access_token"], fake)
    refused: list[dict[str, str]] = [
        {"resource": "https://elsewhere.example.com"},
        {"resource": FILES, "scope": "jobs:delete"},
        {"scope": "jobs:delete"},
        {"client_secret": "lyftdata_wrong"},
        {"grant_type": "password"},
    ]
    for one in refused:
        ours = token_answer(fake.url, environ["LYFTDATA_WORKER_API_KEY"], one)
        theirs = token_answer(real.url, real.api_key, one)
        assert (ours.status_code, ours.json()["error"]) == (theirs.status_code, theirs.json()["error"]), one


def check_online_checks(real, fake):
    """Compare the answers to a service that checks a token."""
    resource = FakeResource("files", FILES, fake.add_resource("files", audience=FILES, scopes=SCOPES).key)
    own = fake.token("press-01", labels=LABELS)
    for_files = fake.token("press-01", labels=LABELS, audience=FILES, scopes=SCOPES)
    for own_token, their_token in (
        (own, real.by_key[0]),
        ("nonsense", "nonsense"),
        (for_files, real.by_key[1]),
    ):
        ours, theirs = asked_about(fake.url, own_token), asked_about(real.url, their_token)
        assert ours.status_code == theirs.status_code
        names = [name for name in theirs.headers if name.startswith("x-lyftdata-")]
        assert {name: ours.headers[name] for name in names} == {name: theirs.headers[name] for name in names}
    for own_token, their_token in ((for_files, real.by_key[1]), (own, real.by_key[0])):
        ours = introspected(fake.url, own_token, resource)
        theirs = introspected(real.url, their_token, real.resource)
        assert list(ours) == list(theirs)
        assert without(ours, SERVER_SPECIFIC) == without(theirs, SERVER_SPECIFIC)


def asked_about(url, token):
    """Check a token at a Server as a proxy does."""
    return httpx2.get(f"{url}/auth/verify", headers={"Authorization": f"Bearer {token}"}, timeout=180)


def introspected(url, token, resource):
    """Check a token at a Server as a resource does."""
    form = {"token": token, "client_id": resource.name, "client_secret": resource.key}
    return httpx2.post(f"{url}/oauth2/introspect", data=form, timeout=180).json()
