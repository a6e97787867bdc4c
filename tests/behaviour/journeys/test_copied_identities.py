"""A Worker's directory that was copied is found when it is used, without a session; a host that crashes is never taken for a copy."""

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
    """Return the host of a Worker that has enrolled, its agent, and its ID."""
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


def test_a_copy_is_refused_at_its_first_use_after_the_owners(site):
    """By commands alone, no session is needed; both hosts are shown, and whatever the copy tries, the owner goes on."""
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


def test_a_host_that_is_restored_waits_and_continues_when_an_operator_says_so(site):
    """Its agent stays, and connects without a change on the host; the state that it was restored from is refused."""
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


def test_crashes_and_many_processes_are_not_copies(site):
    """An agent that is killed and started again, commands that run at once with it, and a Server that is killed: nothing is refused."""
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
