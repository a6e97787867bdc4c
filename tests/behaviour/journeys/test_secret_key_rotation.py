"""Rotation of the secret key on the Server's host."""

import json

from tests.builders import ENROLLMENT_KEY
from tests.processes import until


def test_workers_and_the_audit_log_survive_a_rotation_of_the_secret_key(open_site):
    """It is refused while the Server runs; afterwards the Worker reconnects, and the audit log records both keys."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    operator = site.sign_in()
    worker = site.worker_host(
        "worker", LYFTDATA_WORKER_NAME="press", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    ).start("run", "worker")
    worker.wait_for("online")
    [worker_id] = site.workers()
    old_key = operator.done("audit", "key").strip()
    secret = (site.root / "server" / "staging" / "secret.key").read_text()

    refused = site.server_host.run("admin", "rotate-secret-key", "--yes")
    assert (refused.returncode, "Stop it first" in refused.stderr) == (1, True), refused.stderr
    assert site.server_host.run("admin", "rotate-secret-key").returncode == 2
    site.server.terminate()
    rotated = site.server_host.json("admin", "rotate-secret-key", "--yes")
    assert (rotated["changed"], rotated["workers_with_new_fingerprint"]) == (True, 1)
    assert (site.root / "server" / "staging" / "secret.key").read_text() != secret
    site.start_server()

    until(lambda: site.status(worker_id) == "online", "the Worker is back")
    assert operator.json("audit", "verify")["ok"]
    assert operator.done("audit", "key").strip() == rotated["audit_key"] != old_key
    [event] = operator.json("audit", "list", "--action", "secret_key.rotated")
    assert (event["number"], event["details"]["previous_audit_key"]) == (rotated["event"], old_key)
    proof = operator.done("audit", "proof", str(rotated["event"]))
    assert proof.count("— ") == 2
    accepted = operator.json("enrollment", "status")["keys"]
    assert site.workers()[worker_id]["enrolled_with"] == accepted[0]["fingerprint"], json.dumps(accepted)
