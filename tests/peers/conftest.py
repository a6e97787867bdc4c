"""
Third-party programs against a running Server: it behaves as the standards say.

Each script of `node/` reads its settings as JSON from standard input and answers with one JSON object. It has a key for each
step, with the result (`ok`) or the error that the client threw (`refused`).
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.peers.guarded import Fleet, Guarded
from tests.peers.proxies import PEERS
from tests.peers.proxy_kinds import KINDS
from tests.processes import STARTED, Site

NODE = Path(__file__).parent / "node"
AUDIENCE = "https://broker.example/"
SCOPES = "read write"
RunScript = Callable[..., Any]


@pytest.fixture(scope="session")
def run_script() -> RunScript:
    """Return a function that runs a script of `node/` with its settings and returns its answer."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js on this machine (Debian: apt-get install nodejs npm)")
    if not (NODE / "node_modules").is_dir():
        pytest.skip("the npm packages of tests/peers/node are not installed (make test does it where npm is)")

    def run(script: str, **settings: Any) -> Any:
        result = subprocess.run(
            [node, NODE / script],
            input=json.dumps(settings),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


class Peers:
    """
    A Server with a Worker that clients act as, and a resource that services act as.

    Attributes:
        site: The Server and its operator.
        key: The API key of the Worker `press-01`.
        resource_key: The key of the resource `broker`.
    """

    def __init__(self, root: Path) -> None:
        self.site = Site(root, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
        operator = self.site.sign_in()
        operator.done("workers", "add", "press", "--id", "press-01")
        self.key = operator.done("api-key", "issue", "press-key", "--worker", "press-01").strip()
        resource = [
            "resources",
            "add",
            "broker",
            "--audience",
            AUDIENCE,
            "--all-workers",
            "--include-enrolled",
        ]
        operator.done(*resource, *(f"--scope={scope}" for scope in SCOPES.split()))
        self.resource_key = operator.done("resources", "issue-key", "broker").strip()

    @property
    def url(self) -> str:
        """Return the issuer."""
        return self.site.url

    def close(self) -> None:
        """End this Server, and no other program."""
        self.site.server.kill()
        STARTED.remove(self.site.server)

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings of a client's script; `name` is the name of the Worker that it registers."""
        return {
            "issuer": self.url,
            "basic": {"id": "press-01", "secret": self.key},
            "post": {"id": "press-01", "secret": self.key},
            "asker": {"id": "broker", "secret": self.resource_key},
            "resource": {"audience": AUDIENCE, "scope": "read", "scopes": SCOPES},
            "initial_access_token": ENROLLMENT_KEY,
            "name": name,
            "metadata": {},
            "once": f"once-{name}",
            "verify": f"{self.url}/auth/verify",
        }


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Return a Server for a whole module, whose tests do not change each other's Workers."""
    made = Peers(tmp_path_factory.mktemp("peers"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a Server and its Workers."""
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    yield made
    # Also end what a failed test has left.
    while PEERS:
        PEERS.pop().close()
    made.stop()


@pytest.fixture(scope="module", params=KINDS)
def guarded(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """Return a service behind each proxy."""
    opened = Guarded(KINDS[request.param], fleet, tmp_path_factory.mktemp(request.param))
    yield opened
    opened.close()
