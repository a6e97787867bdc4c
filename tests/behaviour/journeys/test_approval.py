"""Enrollment keys whose Workers wait for approval: the operator compares fingerprints, and approves or denies."""

import sys

ISSUE = ("enrollment", "issue", "etl-hosts", "--mode", "approve")


def test_a_worker_waits_across_restarts_until_it_is_approved(plain_site):
    """It logs once that it waits, with the fingerprint that the operator sees; it waits on after its own restart and the Server's."""
    site = plain_site
    key = site.operator.run(*ISSUE).stdout.strip()
    host = site.worker_host("a", LYFTDATA_WORKER_NAME="etl-1", LYFTDATA_AUTO_ENROLLMENT_KEY=key)
    agent = host.start("run", "worker", "--", sys.executable, "-c", "print('let in')")
    agent.wait_for("awaiting_approval")
    (said,) = agent.events("awaiting_approval")
    (shown,) = site.operator.json("enrollment", "pending")
    assert (shown["id"], shown["thumbprint"]) == (said["worker_id"], said["fingerprint"])
    assert shown["host"]["hostname"]
    assert (shown["name"], shown["enrollment_key"]) == ("etl-1", "etl-hosts")
    (entry,) = site.operator.json("workers", "list", "--status", "pending")
    assert entry["status"] == "never_connected"

    agent.terminate()
    assert agent.exit_code() == 0
    bare = site.worker_host("a", LYFTDATA_WORKER_NAME="etl-1")
    agent = bare.start("run", "worker", "--", sys.executable, "-c", "print('let in')")
    agent.wait_for("awaiting_approval")
    site.server.terminate()
    assert site.server.exit_code() == 0
    site.start_server()
    assert site.operator.json("enrollment", "pending")[0]["id"] == shown["id"]
    assert "let in" not in agent.log

    site.operator.done("enrollment", "approve", shown["id"])

    agent.wait_for("online")
    assert agent.exit_code() == 0
    assert "let in" in agent.log
    assert len(agent.events("awaiting_approval")) == 1
    assert agent.events("refused") == []
    assert site.operator.json("refusals", "list") == []


def test_denied_workers_exit_3_with_the_reason(plain_site):
    """Several can be denied at once, and can still be approved later."""
    site = plain_site
    key = site.operator.run(*ISSUE, "--approve-name", "press-*").stdout.strip()
    hosts = [
        site.worker_host(name, LYFTDATA_WORKER_NAME=name, LYFTDATA_AUTO_ENROLLMENT_KEY=key)
        for name in ("etl-1", "etl-2", "press-1")
    ]
    agents = [host.start("run", "worker") for host in hosts]
    agents[2].wait_for("online")
    for agent in agents[:2]:
        agent.wait_for("awaiting_approval")
    ids = [worker["id"] for worker in site.operator.json("enrollment", "pending")]
    assert len(ids) == 2
    assert site.operator.run("enrollment", "deny", *ids).returncode == 2, "it asks first"

    site.operator.done("enrollment", "deny", *ids, "--yes")

    for agent in agents[:2]:
        assert agent.exit_code() == 3
        (refused,) = agent.events("refused")
        assert (refused["code"], refused["message"]) == ("approval_denied", "The Server refused this Worker.")
        assert agent.events("command_stopped") == []
    site.operator.done("enrollment", "approve", *ids)
    hosts[0].start("run", "worker").wait_for("online")
    missing = site.operator.run("enrollment", "approve", "w-missing")
    assert (missing.returncode, missing.stderr.strip()) == (1, "Error: w-missing: There is no such Worker.")
