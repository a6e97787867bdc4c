"""Which libraries accept tokens signed with each value of LYFTDATA_SIGNING_ALGORITHM, as in the page's table."""

import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2
import joserfc.jwt
import jwt
import pytest
from authlib.jose import JsonWebKey, JsonWebToken
from joserfc.jwk import KeySet
from tests.peers.conftest import NODE, RunScript
from tests.peers.test_the_page import PAGE
from tests.processes import STARTED, Site

from lyftdata.core.keyring import SIGNING_ALGORITHMS
from lyftdata.verify import WorkerVerifier

RUBY_SCRIPT = Path(__file__).parent / "json_jwt.rb"
JSON_JWT = "1.14.0"
WIDELY_KNOWN = ("ES256", "EdDSA")
ACCEPTED: dict[str, tuple[str, ...]] = {
    "lyftdata.verify": SIGNING_ALGORITHMS,
    "jose": SIGNING_ALGORITHMS,
    "oauth4webapi": SIGNING_ALGORITHMS,
    "joserfc": SIGNING_ALGORITHMS,
    "pyjwt": WIDELY_KNOWN,
    "authlib": WIDELY_KNOWN,
}


class Signed:
    """A Server that signs with one algorithm, and a token signed by it."""

    def __init__(self, site: Site, algorithm: str) -> None:
        operator = site.sign_in()
        operator.done("workers", "add", "press", "--id", "press-01")
        key = operator.done("api-key", "issue", "press-key", "--worker", "press-01").strip()
        form = {"grant_type": "client_credentials"}
        answer = httpx2.post(f"{site.url}/oauth2/token", data=form, auth=("press-01", key), timeout=180)
        self.algorithm = algorithm
        self.issuer = site.url
        self.token: str = answer.json()["access_token"]
        self.jwks: Any = httpx2.get(f"{site.url}/.well-known/jwks.json", timeout=180).json()


@pytest.fixture(scope="module", params=SIGNING_ALGORITHMS)
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    """Return a Server for each algorithm in turn."""
    site = Site(tmp_path_factory.mktemp("signed"), LYFTDATA_SIGNING_ALGORITHM=request.param)
    yield Signed(site, request.param)
    site.server.kill()
    STARTED.remove(site.server)


def by_our_verifier(signed: Signed) -> str:
    """Verify a token with this project's library."""
    with WorkerVerifier(signed.issuer, audience=signed.issuer) as verifier:
        return verifier.verify(signed.token).worker_id


def by_pyjwt(signed: Signed) -> str:
    """Verify a token with PyJWT."""
    key = jwt.PyJWKClient(f"{signed.issuer}/.well-known/jwks.json").get_signing_key_from_jwt(signed.token)
    return str(
        jwt.decode(signed.token, key, algorithms=list(SIGNING_ALGORITHMS), audience=signed.issuer)["sub"]
    )


def by_authlib(signed: Signed) -> str:
    """Verify a token with Authlib's own JOSE."""
    claims = JsonWebToken(list(SIGNING_ALGORITHMS)).decode(
        signed.token, JsonWebKey.import_key_set(signed.jwks)
    )
    claims.validate()
    return str(claims["sub"])


def by_joserfc(signed: Signed) -> str:
    """Verify a token with joserfc."""
    with warnings.catch_warnings():
        # It warns that RFC 9864 deprecates the name EdDSA.
        warnings.simplefilter("ignore")
        checked = joserfc.jwt.decode(
            signed.token, KeySet.import_key_set(signed.jwks), algorithms=list(SIGNING_ALGORITHMS)
        )
    return str(checked.claims["sub"])


CHECKS: dict[str, Callable[[Signed], str]] = {
    "lyftdata.verify": by_our_verifier,
    "joserfc": by_joserfc,
    "pyjwt": by_pyjwt,
    "authlib": by_authlib,
}


@pytest.mark.parametrize("library", CHECKS)
def test_python_libraries_accept_the_algorithms_in_the_table(signed, library):
    """A library accepts the algorithms that the table lists for it, and no others."""
    if signed.algorithm in ACCEPTED[library]:
        assert CHECKS[library](signed) == "press-01"
        return
    with pytest.raises(Exception, match=r"(?i)unsupported|usable keys"):
        CHECKS[library](signed)


def test_node_libraries_accept_all_algorithms(signed, run_script: RunScript):
    """`jose` and `oauth4webapi` accept every algorithm in the table."""
    reported = run_script("signing_algorithms.mjs", issuer=signed.issuer, token=signed.token)
    accepted = {library for library, step in reported.items() if step.get("ok") == "press-01"}
    assert accepted == {library for library in reported if signed.algorithm in ACCEPTED[library]}, reported


def test_ruby_accepts_only_es256(signed):
    """Debian's `json-jwt` does not support Ed25519 keys, under either name of the algorithm."""
    ruby = shutil.which("ruby")
    if ruby is None or subprocess.run([ruby, "-e", "require 'json/jwt'"], check=False).returncode != 0:
        pytest.skip("no json-jwt on this machine (Debian: apt-get install ruby-json-jwt)")
    given = json.dumps({"token": signed.token, "jwks": signed.jwks})

    done = subprocess.run(
        [ruby, RUBY_SCRIPT], input=given, capture_output=True, text=True, timeout=180, check=False
    )

    version, *subject = done.stdout.split()
    if version != JSON_JWT:
        pytest.skip(f"another json-jwt ({version}) than the one in the table")
    if signed.algorithm == "ES256":
        assert subject == ["press-01"], done.stderr
    else:
        assert "Unknown Key Type" in done.stderr


def test_the_page_has_the_table():
    """The page lists for each library its version and what these tests found."""
    page = PAGE.read_text(encoding="utf-8")
    assert f"| Ruby `json-jwt` | {JSON_JWT} (Debian 12) | yes | no | no |" in page
    npm = json.loads((NODE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    for library, accepted in ACCEPTED.items():
        version = npm.get(library) or metadata.version(library.partition(".")[0])
        cells = " | ".join("yes" if name in accepted else "no" for name in SIGNING_ALGORITHMS)
        assert f"| `{library}` | {version} | {cells} |" in page
