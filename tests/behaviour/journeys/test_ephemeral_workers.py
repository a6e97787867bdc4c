"""Ephemeral Workers: they leave no entries behind, and enroll again as new Workers."""

import json
from pathlib import Path

import pytest
from tests.processes import Host, Site, until


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


def runner(site: Site, name: str, key: str) -> Host:
    """Return a host for an ephemeral Worker."""
    return site.worker_host(name, LYFTDATA_WORKER_NAME="runner", LYFTDATA_AUTO_ENROLLMENT_KEY=key)


def issue(site: Site, name: str) -> str:
    """Issue a key for ephemeral Workers."""
    return site.operator.done("enrollment", "issue", name, "--ephemeral").strip()


def left(site: Site, worker_id: str) -> list[str]:
    """Return the reasons for which a Worker was removed, from the audit log."""
    found = site.operator.json("audit", "list", "--subject", f"worker:{worker_id}")
    return [event["details"]["why"] for event in found if event["action"] == "worker.left"]


def test_an_ephemeral_worker_is_removed_when_it_stops_and_enrolls_again_when_it_starts(site):
    """It is listed as ephemeral while it runs; the same directory later enrolls with a new ID and the same name."""
    host = runner(site, "a", issue(site, "runner-key"))
    agent = host.start("run", "worker")
    worker_id = str(agent.wait_for("online")["worker_id"])
    assert site.operator.json("workers", "show", worker_id)["ephemeral"] is True
    assert "removed when it leaves" in site.operator.done("workers", "show", worker_id)
    assert site.operator.json("enrollment", "show", "runner-key")["workers"] == 1

    assert agent.terminate() == 0
    assert site.workers() == {}
    assert left(site, worker_id) == ["signed_off"]
    assert site.operator.json("enrollment", "show", "runner-key")["workers"] == 0

    again = host.start("run", "worker")
    online = again.wait_for("online")
    assert online["worker_id"] != worker_id
    assert online["name"] == "runner"
    assert again.events("refused") == []
    assert again.terminate() == 0


def test_an_ephemeral_worker_removed_in_its_absence_enrolls_again(site):
    """Such as a suspended laptop or a host that lost its network; its COMMAND runs again."""
    host = runner(site, "b", issue(site, "laptop-key"))
    seen = host.home / "seen"
    command = ("sh", "-c", f"echo $LYFTDATA_WORKER_ID >> {seen}; exec sleep 600")
    agent = host.start("run", "worker", "--", *command)
    worker_id = str(agent.wait_for("online")["worker_id"])
    until(seen.exists, "the COMMAND runs")

    # As after an absence: the entry is gone when the agent asks for its next token.
    agent.kill()
    assert site.operator.run("workers", "delete", worker_id, "--yes").returncode == 0
    agent = host.start("run", "worker", "--", *command)
    online = agent.wait_for("online")
    (event,) = agent.events("enrolling_again")

    assert event["worker_id"] == worker_id
    assert site.cause(event["reference"]) == "unknown_worker"
    assert online["worker_id"] != worker_id
    until(lambda: len(seen.read_text().split()) == 2, "the COMMAND runs again")
    assert seen.read_text().split() == [worker_id, online["worker_id"]]
    assert agent.events("refused") == []


@pytest.mark.parametrize("gone", ["identity.json", "identity-key.pem"])
def test_a_host_that_loses_power_while_discarding_its_identity_enrolls_again(site, gone):
    """Whichever of the files are already gone, the next start enrolls as a new Worker."""
    host = runner(site, gone, issue(site, f"power-{gone[:11].replace('.', '-')}"))
    agent = host.start("run", "worker")
    worker_id = str(agent.wait_for("online")["worker_id"])
    jobs = Path(host.environ["LYFTDATA_JOBS_DIR"])
    kept = {file.name: file.read_bytes() for file in jobs.iterdir() if file.is_file()}
    assert json.loads(kept["identity.json"])["ephemeral"] is True
    assert agent.terminate() == 0
    assert not (jobs / "identity.json").exists()
    order = ["identity.json", "identity-key.pem", "signature-counter"]
    for name in order[order.index(gone) + 1 :]:
        (jobs / name).write_bytes(kept[name])
        (jobs / name).chmod(0o600)

    again = host.start("run", "worker")
    assert again.wait_for("online")["worker_id"] != worker_id
    host.done("token")
    assert again.terminate() == 0
