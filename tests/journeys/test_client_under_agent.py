"""A program that `lyftdata run worker -- COMMAND` runs gets its tokens by `from_environment()`, with nothing set by hand."""

import json
import sys

import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.verify import WorkerVerifier

FILES = "https://files.example.com"

PROGRAM = f"""
import asyncio, json
from lyftdata.verify.client import TokenRefusedError, WorkerTokens

wanted = [{{}}, {{"resource": "{FILES}"}}, {{"resource": "{FILES}", "scope": "jobs:read"}}]
by_thread = [WorkerTokens.from_environment(**options).get() for options in wanted]


async def on_loop():
    return [await WorkerTokens.from_environment(**options).aget() for options in wanted]


refused = []
for options in ({{"resource": "https://elsewhere.example.com"}}, {{"resource": "{FILES}", "scope": "jobs:delete"}}):
    try:
        WorkerTokens.from_environment(**options).get()
    except TokenRefusedError as error:
        refused.append(error.final)
print(json.dumps({{"by_thread": by_thread, "on_loop": asyncio.run(on_loop()), "refused": refused}}))
"""

BY_FILE = """
import os
from lyftdata.verify.client import WorkerTokens
del os.environ["LYFTDATA_WORKER_TOKEN_SOCKET"]
print(WorkerTokens.from_environment().get())
"""


@pytest.fixture
def hosts(site):
    """Return the host of a Worker of each strategy; both Workers may use the service."""
    scopes = ("--scope", "jobs:read", "--scope", "jobs:write", "--all-workers", "--include-enrolled")
    site.operator.done("resources", "add", "files", "--audience", FILES, *scopes)
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    return [
        site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key),
        site.worker_host("b", LYFTDATA_WORKER_NAME="b", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY),
    ]


def test_its_tokens_are_those_of_the_agents_worker(site, hosts):
    """For each strategy, in threads and on an event loop: the Server's audience, a service's, and fewer scopes."""
    own = WorkerVerifier(site.url, audience=site.url)
    files = WorkerVerifier(site.url, audience=FILES)
    all_of_them = {"jobs:read", "jobs:write"}
    for host in hosts:
        said = json.loads(host.done("run", "worker", "--", sys.executable, "-c", PROGRAM))

        assert said["refused"] == [True, True]
        for plain, for_files, for_reading in (said["by_thread"], said["on_loop"]):
            assert files.verify(for_files).scopes == all_of_them
            assert files.verify(for_reading).scopes == {"jobs:read"}
            worker_id = own.verify(plain).worker_id
            assert files.verify(for_files).worker_id == worker_id
        assert (worker_id == "press-01") == (host is hosts[0])
        by_file = host.done("run", "worker", "--", sys.executable, "-c", BY_FILE).strip()
        assert own.verify(by_file).worker_id == worker_id
