"""A copy of a Worker's directory is detected when it is used, even without a session; a host that crashes is not taken for a copy."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.processes import Host, Program, Site, until


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


def enrolled(site: Site) -> tuple[Host, Program, str]:
    """Return the host of a Worker that has enrolled, its agent and its ID."""
    host = site.worker_host(
        "press", LYFTDATA_WORKER_NAME="press", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    agent = host.start("run", "worker")
    return host, agent, str(agent.wait_for("online")["worker_id"])


def copied(site: Site, host: Host, name: str) -> Host:
    """Copy a Worker's directory to another host."""
    other = site.worker_host(name, LYFTDATA_WORKER_NAME="press")
    shutil.copytree(host.environ["LYFTDATA_JOBS_DIR"], other.environ["LYFTDATA_JOBS_DIR"])
    return other


def test_a_copy_is_refused_when_it_is_used_after_its_original(site):
    """Commands suffice, no session is needed; both hosts are shown, and the original is not disturbed by the copy's attempts."""
    host, agent, worker_id = enrolled(site)
    assert agent.terminate() == 0
    thief = copied(site, host, "thief")
    host.done("token")

    for _ in range(3):
        refused = thief.run("token")
        assert refused.returncode != 0
        assert "snapshot" in refused.stderr
    host.done("token")

    [copy] = site.operator.json("workers", "show", worker_id)["copies"]
    assert copy["address"] == copy["other_address"] == "127.0.0.1"
    assert copy["host"]
    assert copy["host"] == copy["other_host"]
    assert site.cause(copy["reference"]) == "identity_cloned"
    assert copy["reference"] in site.operator.done("workers", "show", worker_id)


def test_a_restored_host_waits_until_an_operator_lets_it_continue(site):
    """Its agent stays and then connects without a change on the host; the directory that it was copied from is refused."""
    host, agent, worker_id = enrolled(site)
    assert agent.terminate() == 0
    snapshot = copied(site, host, "snapshot")
    host.done("token")
    restored = snapshot.start("run", "worker")
    refused = restored.wait_for("refused")
    assert refused["code"] == "identity_cloned"
    assert restored.alive()

    site.operator.done("workers", "continue-copy", worker_id, str(refused["reference"]), "--yes")
    restored.wait_for("online")

    snapshot.done("token")
    assert host.run("token").returncode != 0
    assert restored.terminate() == 0


def test_crashes_and_concurrent_processes_are_not_taken_for_copies(site):
    """Nothing is refused after kills of the agent, with commands that run concurrently, or after a kill of the Server."""
    host, agent, worker_id = enrolled(site)
    for _ in range(2):
        agent.kill()
        agent = host.start("run", "worker")
        agent.wait_for("online")
    with ThreadPoolExecutor(4) as several:
        tokens = list(several.map(lambda _: host.run("token"), range(8)))
    assert [token.returncode for token in tokens] == [0] * 8, [token.stderr for token in tokens]

    site.server.kill()
    site.start_server()
    until(lambda: site.status(worker_id) == "online", "online again")
    host.done("token")

    assert agent.events("refused") == []
    assert site.operator.json("workers", "show", worker_id)["copies"] == []
    assert agent.terminate() == 0
