"""A copied directory enrolls as a new Worker, by an operator's decision and with its own enrollment key; the original goes on."""

from pathlib import Path

import pytest
from tests.behaviour.journeys.test_copied_identities import copied, enrolled
from tests.builders import ENROLLMENT_KEY
from tests.processes import Host, Program, Site, until


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


def refused_copy(site: Site, name: str, **environ: str) -> tuple[str, Program, Host, Program, str]:
    """Return a Worker's ID and agent, and the host, agent and refusal reference of a refused copy on another host."""
    host, agent, worker_id = enrolled(site)
    copy = copied(site, host, name)
    copy.environ.update(environ)
    host.done("token")
    clone = copy.start("run", "worker")
    refused = clone.wait_for("refused")
    assert refused["code"] == "identity_cloned"
    return worker_id, agent, copy, clone, str(refused["reference"])


def directory(host: Host) -> Path:
    """Return the directory of a host's Worker."""
    return Path(host.environ["LYFTDATA_JOBS_DIR"])


def test_a_clone_enrolls_as_a_new_worker_once_an_operator_decides_so(site):
    """Its agent does so by itself; both are online with separate identities, also after a restart."""
    worker_id, agent, copy, clone, reference = refused_copy(
        site, "clone", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    original_key = (directory(copy) / "identity-key.pem").read_bytes()

    site.operator.done("workers", "reenroll-copy", worker_id, reference, "--yes")
    online = clone.wait_for("online")

    assert clone.wait_for("enrolled_as_new")["copy_of"] == worker_id
    assert online["worker_id"] != worker_id
    assert online["name"].startswith("press-")
    assert site.status(worker_id) == site.status(online["worker_id"]) == "online"
    assert agent.events("refused") == []
    assert (directory(copy) / "identity-key.pem").read_bytes() != original_key
    assert sorted(file.name for file in directory(copy).iterdir()) == [
        "identity-key.pem",
        "identity.json",
        "lock",
        f"signature-counter-{online['worker_id']}",
    ]
    [shown] = site.operator.json("workers", "show", worker_id)["copies"]
    assert (shown["decision"], shown["decided_by"]) == ("as_new", "operator:admin")

    assert clone.terminate() == 0
    again = copy.start("run", "worker")
    assert again.wait_for("online")["worker_id"] == online["worker_id"]
    copy.done("token")
    assert agent.alive()
    assert agent.terminate() == again.terminate() == 0


def test_a_copy_without_an_enrollment_key_gets_nothing(site):
    """The copied identity is not enough to enroll as a new Worker: the agent says that it needs an enrollment key, and waits."""
    worker_id, agent, copy, clone, reference = refused_copy(site, "thief")
    kept = {file.name: file.read_bytes() for file in directory(copy).glob("identity*")}

    site.operator.done("workers", "reenroll-copy", worker_id, reference, "--yes")
    until(lambda: clone.events("refused")[-1]["code"] == "enroll_as_new", "it learns of it")

    refused = clone.events("refused")[-1]
    assert "LYFTDATA_AUTO_ENROLLMENT_KEY" in refused["remedy"]
    assert clone.alive()
    assert list(site.workers()) == [worker_id]
    assert {file.name: file.read_bytes() for file in directory(copy).glob("identity*")} == kept
    assert clone.terminate() == 0
    wrong = copy.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY="lyftdata_enroll_0000000000_" + "0" * 38)
    assert wrong.exit_code() == 3
    assert list(site.workers()) == [worker_id]
    assert agent.alive()

    # With a valid key it enrolls, in the same directory.
    clone = copy.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    assert clone.wait_for("online")["worker_id"] != worker_id
    assert agent.events("refused") == []
    assert clone.terminate() == agent.terminate() == 0
