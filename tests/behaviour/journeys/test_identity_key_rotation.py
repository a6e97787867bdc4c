"""Rotation of identity keys at an operator's request; after a kill of either side at any step a Worker has one valid key."""

import signal
import time
from pathlib import Path

from tests.builders import ENROLLMENT_KEY
from tests.processes import Host, until

from lyftdata.client import TokenKeeper


def worker_host(site, name, *, module="lyftdata"):
    """Return the host of a Worker that enrolls."""
    return Host(
        site.root / name,
        module=module,
        LYFTDATA_URL=site.url,
        LYFTDATA_JOBS_DIR=str(site.root / name / "jobs"),
        LYFTDATA_WORKER_NAME=name,
        LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
    )


def key_of(site, worker_id):
    """Return the rotation state of a Worker and the thumbprint of its identity key."""
    worker = site.workers()[worker_id]
    return worker["key_rotation"], worker["thumbprint"]


def wait_for_another_key(site, worker_id, before):
    """Wait until a Worker has a new key and is connected."""
    until(lambda: key_of(site, worker_id)[0] == "done", "the key is rotated")
    assert key_of(site, worker_id)[1] != before
    until(lambda: site.status(worker_id) == "online", "the Worker is connected")


def test_a_command_runs_on_while_its_workers_key_is_rotated(open_site, tmp_path):
    """A connected agent rotates at once; its COMMAND is not restarted, and other programs that use the directory go on working."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    operator = site.sign_in()
    host, starts = worker_host(site, "press"), tmp_path / "starts"
    command = ("sh", "-c", f"echo started >> {starts}; exec sleep 1000")
    worker = host.start("run", "worker", "--", *command)
    until(starts.exists, "the COMMAND runs")
    [worker_id] = site.workers()
    rotation, before = key_of(site, worker_id)
    assert rotation == "never"
    own = {"LYFTDATA_URL": site.url, "LYFTDATA_JOBS_DIR": str(site.root / "press" / "jobs")}
    later_s = [0.0]

    def monotonic():
        return time.monotonic() + later_s[0]

    jobs = Path(own["LYFTDATA_JOBS_DIR"])
    programs = [
        TokenKeeper.from_environment(own, monotonic=monotonic),
        TokenKeeper.with_identity(
            site.url,
            worker_id=worker_id,
            private_key_pem=(jobs / "identity-key.pem").read_bytes(),
            jobs_dir=jobs,
            monotonic=monotonic,
        ),
    ]
    tokens = [program.get() for program in programs]

    asked = operator.json("workers", "rotate-key", worker_id)
    assert asked == {"asked": 1, "ids": [worker_id]}
    worker.wait_for("identity_key_rotated")
    wait_for_another_key(site, worker_id, before)

    assert starts.read_text() == "started\n"
    assert operator.json("workers", "list", "--key-rotation", "asked") == []
    [event] = operator.json("audit", "list", "--action", "worker.key_rotated")
    assert event["details"]["from"] == before
    assert host.run("token").returncode == 0
    # They do not replace a token that they got only just now.
    later_s[0] = 60.0
    assert all(program.get_another(token) for program, token in zip(programs, tokens, strict=True))
    worker.terminate()
    host.start("run", "worker").wait_for("online")


def test_a_kill_at_any_step_leaves_one_valid_key(open_site):
    """The agent goes on with the key in its directory and completes the rotation, also after a kill of the Server."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    operator = site.sign_in()
    host = worker_host(site, "press", module="tests.behaviour.journeys.killed_rotation")
    enrolled = host.start("run", "worker")
    enrolled.wait_for("online")
    [worker_id] = site.workers()
    enrolled.terminate()
    for step in ("written", "registered", "adopted"):
        worker = host.start("run", "worker", KILL_AT=step)
        worker.wait_for("online")
        _, before = key_of(site, worker_id)
        operator.done("workers", "rotate-key", worker_id)
        assert worker.exit_code() == -signal.SIGKILL, step
        assert key_of(site, worker_id) == ("asked", before), step
        if step == "registered":
            site.server.kill()
            site.start_server()

        worker = host.start("run", "worker")
        wait_for_another_key(site, worker_id, before)
        assert worker.terminate() == 0
    operator.done("workers", "rotate-key", "--all", "--yes")
    before = key_of(site, worker_id)[1]
    site.server.kill()
    site.start_server()
    host.start("run", "worker").wait_for("identity_key_rotated")
    wait_for_another_key(site, worker_id, before)
