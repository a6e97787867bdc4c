"""
Both MCP SDKs call a tool of a real MCP server as Workers, knowing only its address and the issuer that they trust.

The rest they do by themselves: they are refused, read the server's protected resource metadata (RFC 9728) and this Server's
metadata (RFC 8414), request a token for that resource (RFC 8707), and repeat the call with it.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey
from mcp.client.auth import OAuthTokenError
from tests.builders import ENROLLMENT_KEY
from tests.peers import mcp_client
from tests.peers.conftest import RunScript
from tests.processes import STARTED, Site, free_port, until

ROOT = Path(__file__).parents[2]
WITHIN_S = 180


class Hall:
    """A Server, an MCP server that is one of its resources, and Workers of both strategies that may use it."""

    def __init__(self, root: Path) -> None:
        self.site = Site(root, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
        self.operator = self.site.sign_in()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.api_keys = {name: self.add_worker(name) for name in ("press-01", "not-granted")}
        self.key = ECKey.generate_key("P-256")
        self.enrolled = self.enroll()
        granted = ["--worker", "press-01", "--worker", self.enrolled]
        self.operator.done("resources", "add", "tools", "--audience", self.url, "--scope", "call", *granted)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.peers.mcp_server", self.site.url, str(self.port)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self.answers, "the MCP server answers")

    def add_worker(self, name: str) -> str:
        """Add a Worker; return its API key."""
        self.operator.done("workers", "add", name, "--id", name)
        return self.operator.done("api-key", "issue", f"{name}-key", "--worker", name).strip()

    def enroll(self) -> str:
        """Register the public key; return the Worker ID."""
        body = {"client_name": "by mcp", "jwks": {"keys": [self.key.as_dict(private=False)]}}
        headers = {"Authorization": f"Bearer {ENROLLMENT_KEY}"}
        answer = httpx2.post(f"{self.site.url}/oauth2/register", json=body, headers=headers, timeout=WITHIN_S)
        return str(answer.json()["client_id"])

    @property
    def pem(self) -> str:
        """Return the private key in PEM, as clients read it."""
        return self.key.as_pem(private=True).decode()

    def answers(self) -> bool:
        """Return whether the MCP server accepts connections; fail if it has ended."""
        assert self.process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def token(self, **form: str) -> str:
        """Return a token of the Worker press-01."""
        auth = ("press-01", self.api_keys["press-01"])
        data = {"grant_type": "client_credentials", **form}
        answer = httpx2.post(f"{self.site.url}/oauth2/token", data=data, auth=auth, timeout=WITHIN_S)
        return str(answer.json()["access_token"])

    def close(self) -> None:
        """End both servers."""
        self.process.kill()
        self.process.wait()
        self.site.server.kill()
        STARTED.remove(self.site.server)


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """Return both servers, for the whole module."""
    made = Hall(tmp_path_factory.mktemp("hall"))
    yield made
    made.close()


def call(hall: Hall, auth: Any) -> object:
    """Call the tool with the Python SDK."""
    return asyncio.run(mcp_client.call(hall.url, auth, "whoami"))


def innermost(error: BaseException) -> list[BaseException]:
    """Return the errors in an exception group, at any depth."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in innermost(inner)]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_the_python_sdk_works_with_an_api_key(hall, method):
    """The tool learns which Worker calls it."""
    auth = mcp_client.by_api_key(hall.url, hall.site.url, "press-01", hall.api_keys["press-01"], method)
    assert call(hall, auth) == "press-01"


def test_the_python_sdk_works_with_an_identity_key(hall):
    """With `private_key_jwt`, an enrolled Worker needs no secret."""
    auth = mcp_client.by_identity_key(hall.url, hall.site.url, hall.enrolled, hall.pem)
    assert call(hall, auth) == hall.enrolled


@pytest.mark.parametrize(
    ("worker", "error"), [("press-01", "invalid_client"), ("not-granted", "invalid_target")]
)
def test_the_python_sdk_learns_why_it_gets_no_token(hall, worker, error):
    """With a wrong key, or for a Worker to which the resource is not granted, the client raises the Server's error."""
    key = "wrong" if worker == "press-01" else hall.api_keys[worker]
    auth = mcp_client.by_api_key(hall.url, hall.site.url, worker, key)
    with pytest.raises(BaseException) as refused:
        call(hall, auth)
    (reported,) = innermost(refused.value)
    assert isinstance(reported, OAuthTokenError)
    assert error in str(reported)


@pytest.fixture(scope="module")
def walk(hall: Hall, run_script: RunScript) -> dict[str, Any]:
    """Return what the TypeScript SDK found."""
    settings = {
        "url": hall.url,
        "issuer": hall.site.url,
        "worker": {"id": "press-01", "secret": hall.api_keys["press-01"]},
        "notGranted": {"id": "not-granted", "secret": hall.api_keys["not-granted"]},
        "enrolled": {"id": hall.enrolled, "pem": hall.pem},
    }
    return run_script("mcp_client.mjs", **settings)


def test_the_typescript_sdk_works_with_either_key(hall, walk):
    """With an API key in a Basic header, and with `private_key_jwt`."""
    assert walk["api_key"] == {"ok": "press-01"}, walk
    assert walk["identity_key"] == {"ok": hall.enrolled}, walk


def test_the_typescript_sdk_learns_why_it_gets_no_token(walk):
    """The same two cases as in Python; its errors have the Server's text in their message."""
    assert "refused" in walk["wrong_key"], walk
    assert "refused" in walk["not_granted"], walk
    assert "Authentication failed" in walk["wrong_key"]["refused"]["message"]
    assert "may have none for" in walk["not_granted"]["refused"]["message"]


def test_the_mcp_server_points_a_client_to_this_server(hall):
    """Without a token it answers 401 with the URL of its metadata, which names the resource, its scopes and this Server."""
    bare = httpx2.post(hall.url, json={}, timeout=WITHIN_S)
    assert bare.status_code == 401
    where = bare.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
    metadata = httpx2.get(where, timeout=WITHIN_S).json()
    assert (metadata["resource"], metadata["authorization_servers"], metadata["scopes_supported"]) == (
        hall.url,
        [hall.site.url],
        ["call"],
    )


def test_other_tokens_are_refused_by_the_mcp_server(hall):
    """A token for the Server itself, an altered one, and text that is not a token are all answered 401."""
    own, good = hall.token(), hall.token(resource=hall.url)
    for token in (own, good[:-4] + "AAAA", "nonsense"):
        answer = httpx2.post(
            hall.url, json={}, headers={"Authorization": f"Bearer {token}"}, timeout=WITHIN_S
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    accepted = httpx2.post(hall.url, json={}, headers={"Authorization": f"Bearer {good}"}, timeout=WITHIN_S)
    assert accepted.status_code != 401
