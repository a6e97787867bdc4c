"""Decisions in the log, for a SIEM: each once, as JSON, with its number in the audit log and without secrets."""

import json

from tests.builders import ENROLLMENT_KEY
from tests.processes import PASSWORD, until


def test_decisions_are_logged_in_order_without_secrets(open_site):
    """Sign-ins, keys, changes to Workers and what a command on the host does; also when Workers connect and disconnect."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY, LYFTDATA_LOG_DECISIONS="yes")
    server, operator = site.server, site.sign_in()
    operator.run("login", "admin", "--password-stdin", stdin="not the password\n")
    key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    by_key = site.worker_host("press-01", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    agent = by_key.start("run", "worker")
    assert server.wait_for("worker_online")["worker_id"] == "press-01"
    operator.done("workers", "disable", "press-01", "--yes")
    gone = server.wait_for("worker_offline")
    assert (gone["worker_id"], gone["reason"]) == ("press-01", "worker_disabled")
    agent.terminate()
    reset = site.server_host.done("admin", "unlock", "admin")
    assert reset == ""
    expected = {
        "operator.signed_in",
        "worker.created",
        "api_key.issued",
        "worker.disabled",
        "operator.unlocked",
    }
    until(lambda: expected <= {e["action"] for e in server.events("decision")}, "every decision in the log")
    assert server.terminate() == 0

    decisions = server.events("decision")
    numbers = [decision["number"] for decision in decisions]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    (disabled,) = (d for d in decisions if d["action"] == "worker.disabled")
    assert (disabled["actor"], disabled["subject"]) == ("operator:admin", "worker:press-01")
    for secret in (key, PASSWORD, ENROLLMENT_KEY, "not the password"):
        assert secret not in json.dumps(decisions)
        assert secret not in server.log


def test_decisions_are_not_logged_by_default(open_site):
    """LYFTDATA_LOG_DECISIONS turns them on."""
    site = open_site()
    site.sign_in()
    assert site.server.terminate() == 0

    assert site.server.events("decision") == []
