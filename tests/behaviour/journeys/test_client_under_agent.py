"""A program run by `lyftdata run worker -- COMMAND` gets its tokens with `from_environment()` and no further settings."""

import json
import re
import sys
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.verify import WorkerVerifier
from lyftdata.verify.wsgi import WorkerAuthMiddleware

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "check-workers-in-a-service.md"
FILES = "https://files.example.com"

PROGRAM = f"""
import asyncio, json
from lyftdata.client import TokenRefusedError, TokenKeeper

wanted = [{{}}, {{"resource": "{FILES}"}}, {{"resource": "{FILES}", "scope": "jobs:read"}}]
by_thread = [TokenKeeper.from_environment(**options).get() for options in wanted]


async def on_loop():
    return [await TokenKeeper.from_environment(**options).aget() for options in wanted]


refused = []
for options in ({{"resource": "https://elsewhere.example.com"}}, {{"resource": "{FILES}", "scope": "jobs:delete"}}):
    try:
        TokenKeeper.from_environment(**options).get()
    except TokenRefusedError as error:
        refused.append(error.final)
print(json.dumps({{"by_thread": by_thread, "on_loop": asyncio.run(on_loop()), "refused": refused}}))
"""

BY_FILE = """
import os
from lyftdata.client import TokenKeeper
del os.environ["LYFTDATA_WORKER_TOKEN_SOCKET"]
print(TokenKeeper.from_environment().get())
"""


@pytest.fixture
def hosts(site):
    """Return a host for a Worker of each strategy; both Workers may use the service."""
    scopes = ("--scope", "jobs:read", "--scope", "jobs:write", "--all-workers", "--include-enrolled")
    site.operator.done("resources", "add", "files", "--audience", FILES, *scopes)
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    return [
        site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key),
        site.worker_host("b", LYFTDATA_WORKER_NAME="b", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY),
    ]


def test_a_programs_tokens_are_those_of_the_agents_worker(site, hosts):
    """For each strategy, sync and async: for the Server's audience, for a service's, and with fewer scopes."""
    own = WorkerVerifier(site.url, audience=site.url)
    files = WorkerVerifier(site.url, audience=FILES)
    all_of_them = {"jobs:read", "jobs:write"}
    for host in hosts:
        printed = json.loads(host.done("run", "worker", "--", sys.executable, "-c", PROGRAM))

        assert printed["refused"] == [True, True]
        worker_id = own.verify(printed["by_thread"][0]).worker_id
        assert (worker_id == "press-01") == (host is hosts[0])
        for plain, for_files, for_reading in (printed["by_thread"], printed["on_loop"]):
            assert own.verify(plain).worker_id == files.verify(for_files).worker_id == worker_id
            assert files.verify(for_files).scopes == all_of_them
            assert files.verify(for_reading).scopes == {"jobs:read"}
        by_file = host.done("run", "worker", "--", sys.executable, "-c", BY_FILE).strip()
        assert own.verify(by_file).worker_id == worker_id


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def service(site):
    """Serve an application that answers with the caller's Worker ID; yield its URL."""

    def whoami(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["lyftdata.worker"].worker_id.encode()]

    app = WorkerAuthMiddleware(whoami, verifier=WorkerVerifier(site.url, audience=site.url))
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_client_example_of_the_page_works_under_an_agent(hosts, service):
    """The examples for httpx2, httpx, aiohttp and requests reach a service with only what the agent provides."""
    section = (
        PAGE.read_text(encoding="utf-8").partition("## Call a service as a Worker")[2].partition("\n## ")[0]
    )
    examples = [
        example
        for example in re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        if "from_environment" in example
    ]
    (host, _) = hosts
    for number, example in enumerate(examples):
        (host.home / f"{number}.py").write_text(example.replace(FILES, service))
    programs = " && ".join(f"{sys.executable} {number}.py" for number in range(len(examples)))

    assert host.done("run", "worker", "--", "sh", "-c", programs).split() == ["press-01"] * 4
