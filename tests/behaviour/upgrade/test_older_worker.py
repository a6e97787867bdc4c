"""
A Worker that is older than its Server.

`older/lyftdata-2026-11-24.zip` has the Worker and the command line of the first commit with both, from before any release:

    git archive --format=zip 258fd70:src lyftdata/__init__.py lyftdata/__main__.py lyftdata/log.py lyftdata/{cli,core,worker}

Each release replaces it (docs/contributing/release.md). It is tested only with an API key: the proof of the enrollment key has changed since.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes import until

[OLDER] = (Path(__file__).parent / "older").glob("*.zip")


@pytest.fixture
def site(shared_site):
    """Return the Server that the tests of this file share."""
    return shared_site


def started(site, name, **environ):
    """Start an older Worker; return its agent."""
    host = site.worker_host(name, PYTHONPATH=str(OLDER), **environ)
    found = [sys.executable, "-c", "import lyftdata.worker; print(lyftdata.worker.__file__)"]
    imported = subprocess.run(
        found, env=host.environ, capture_output=True, text=True, timeout=180, check=True
    )
    assert imported.stdout.startswith(str(OLDER))
    return host.start("run", "worker")


def wait_for_status(site, worker_id, status):
    """Wait until the Server shows this status for a Worker."""
    until(lambda: site.status(worker_id) == status, f"{worker_id} {status}")


def test_an_older_worker_with_an_api_key_still_works(site):
    """It connects, goes offline when it is disabled, reconnects when it is enabled, and exits 3 when its key is revoked."""
    operator = site.operator
    key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    agent = started(site, "press-01", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    wait_for_status(site, "press-01", "online")

    operator.done("workers", "disable", "press-01", "--yes")
    wait_for_status(site, "press-01", "offline")
    assert agent.alive()
    operator.done("workers", "enable", "press-01")
    wait_for_status(site, "press-01", "online")
    [name] = [key["name"] for key in operator.json("api-key", "list") if key["used_by"] == ["press-01"]]
    operator.done("api-key", "revoke", name, "--yes")

    assert agent.exit_code() == 3
