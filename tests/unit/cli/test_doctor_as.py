"""`lyftdata doctor --as`: what the Server knows about a Worker, next to the Worker's last attempt."""

import json

import httpx2
import pytest

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def add(listening, operator):
    """Return a function that adds a Worker and returns its ID and key."""

    def add_worker(worker_id):
        issued = operator.json("workers", "add", f"{worker_id} press", "--id", worker_id, "--issue-key")
        return worker_id, issued["issued_key"]["key"]

    return add_worker


def ask(listening, credential):
    """Request a token; return the answer."""
    return httpx2.post(f"{listening.url}/oauth2/token", data=GRANT, auth=credential, trust_env=False)


def examined(operator, named):
    """Return the exit code, the last attempt, and the findings by code."""
    ended = operator.run("doctor", "--as", named, "--json")
    shown = json.loads(ended.output)
    assert shown["ok"] == (ended.exit_code == 0)
    return ended.exit_code, shown["last_attempt"], {one["code"]: one for one in shown["findings"]}


def test_a_worker_that_never_tried_to_connect_is_found(operator, add):
    """The fault is on its host or in the network."""
    add("as-never")

    code, attempt, found = examined(operator, "as-never")

    assert (code, attempt, list(found)) == (1, None, ["never_seen"])
    assert "lyftdata doctor worker" in found["never_seen"]["fix"]


def test_a_refused_attempt_is_shown_with_its_cause(listening, operator, add):
    """With the credential, the address, and what the Server expects; the Worker can also be named by its name."""
    _, other_key = add("as-other")
    add("as-wrong")
    assert ask(listening, ("as-wrong", other_key)).status_code == 401

    code, attempt, found = examined(operator, "as-wrong press")
    table = operator.run("doctor", "--as", "as-wrong").output

    assert code == 1
    assert (attempt["outcome"], attempt["address"]) == ("api_key_not_for_worker", "127.0.0.1")
    assert list(found) == ["refused"]
    assert attempt["reference"] in found["refused"]["what"]
    assert all(part in table for part in ("api_key_not_for_worker", "127.0.0.1", "as-wrong (as-wrong press)"))


def test_disabled_and_unknown_workers_have_different_findings(listening, operator, add):
    """Although unproven callers get the same answer for both."""
    disabled = add("as-disabled")
    operator.done("workers", "disable", "as-disabled", "--yes")
    ask(listening, disabled)
    ask(listening, ("as-gone", disabled[1]))

    _, attempt, found = examined(operator, "as-disabled")
    assert (list(found), attempt["credential"]) == (["worker_disabled", "refused"], "API key")
    assert list(examined(operator, "as-gone")[2]) == ["worker_unknown", "refused"]


def test_a_connected_worker_has_no_findings(listening, operator, add):
    """The command says so, and exits with 0."""
    credential = add("as-right")
    token = ask(listening, credential).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    poll = {"boot_id": "boot-0001"}
    session = f"{listening.url}/api/worker/session"
    assert httpx2.post(session, json=poll, headers=headers, trust_env=False).status_code == 200

    ended = operator.run("doctor", "--as", "as-right")

    assert (ended.exit_code, ended.errors) == (0, "Nothing is wrong.\n")
    assert "token issued" in ended.output


def test_as_cannot_be_combined_with_a_subcommand(operator):
    """Without either one it is a usage error too."""
    assert operator.run("doctor", "--as", "x", "worker").exit_code == 2
    assert operator.run("doctor").exit_code == 2
