"""`lyftdata enrollment pending`, `approve` and `deny`."""

import httpx2
import pytest

from lyftdata.core.identity_keys import generate_identity_key


@pytest.fixture
def enroll(operator, listening):
    """Return a function that enrolls a host with a key and returns its ID and fingerprint."""

    def one(name, key):
        identity = generate_identity_key()
        body = {
            "client_name": name,
            "jwks": {"keys": [identity.public.as_dict()]},
            "host": {"hostname": f"{name}.example"},
        }
        answer = httpx2.post(
            f"{listening.url}/oauth2/register",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["client_id"], identity.public.thumbprint

    return one


def test_waiting_workers_are_listed_approved_and_denied(operator, enroll):
    """With fingerprint, host and key. A decision about several reports each, and fails if one of them failed."""
    issued = operator.run(
        "enrollment", "issue", "partner-hosts", "--mode", "approve", "--approve-from", "10.4.0.0/16"
    )
    assert "admitted when an operator approves, at once if from 10.4.0.0/16" in issued.errors
    assert operator.run("enrollment", "pending").errors == "No Worker waits for approval.\n"
    (first, fingerprint), (second, _), (third, _) = (
        enroll(name, issued.output.strip()) for name in ("etl-1", "etl-2", "etl-3")
    )

    listed = operator.done("enrollment", "pending")

    for shown in (first, fingerprint, "etl-1.example", "partner-hosts"):
        assert shown in listed
    assert "Waiting for approval  3 Workers" in operator.done("enrollment", "show", "partner-hosts")
    examined = operator.run("doctor", "--as", "etl-1")
    assert "worker_not_approved" in examined.output
    assert "never_seen" not in examined.output
    assert f"lyftdata enrollment approve {first}" in examined.output
    assert "pending, never connected" in examined.output
    approved = operator.run("enrollment", "approve", first, "w-missing", second)
    assert approved.exit_code == 1
    assert f"Worker {first} (etl-1) approved\n" in approved.errors
    assert "Error: w-missing: There is no such Worker.\n" in approved.errors
    asked = operator.run("enrollment", "deny", third)
    assert (asked.exit_code, "--yes" in asked.errors) == (2, True)
    assert operator.run("enrollment", "deny", third, "--yes").errors == f"Worker {third} (etl-3) denied\n"
    assert [worker["id"] for worker in operator.json("workers", "list", "--status", "denied")] == [third]
    assert "denied" in operator.done("workers", "show", third)
    assert operator.json("enrollment", "approve", third) == [
        {"id": third, "name": "etl-3", "problem": None, "detail": None}
    ]


def test_the_list_says_which_worker_has_the_name_now(operator, enroll):
    """Approving takes the name from an offline holder, so the operator must know before."""
    key = operator.done("enrollment", "issue", "named-hosts", "--mode", "approve").strip()
    enroll("press", operator.done("enrollment", "issue", "auto-hosts").strip())
    waiting, _ = enroll("press", key)

    listed = operator.run("enrollment", "pending")

    assert "has the name press now" in listed.errors
    assert waiting in listed.errors


def test_a_worker_that_needs_no_approval_is_an_error(operator):
    """With exit code 1, as for a Worker that does not exist."""
    operator.done("workers", "add", "approved by hand", "--id", "by-hand")

    for action in (("approve", "by-hand"), ("deny", "by-hand", "--yes")):
        ended = operator.run("enrollment", *action)
        assert (ended.exit_code, ended.output) == (1, "")
        assert ended.errors == "Error: by-hand: It needs no approval, and never waited for one.\n"
