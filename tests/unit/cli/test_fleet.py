"""`lyftdata fleet`."""

import httpx2


def test_a_fleet_without_connected_workers_expects_none(operator):
    """In words and as JSON; there is nothing to complain about."""
    assert operator.done("fleet", "status") == "No Worker is expected yet.\n"
    assert operator.json("fleet", "status")["level"] == "none"
    assert operator.run("fleet", "status", "--check").exit_code == 0


def test_a_missing_worker_is_told_and_fails_the_check(listening, operator):
    """Once it was connected it is expected; when it has signed off, `--check` exits 1, and the list names it."""
    key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = listening.worker_host("press", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    token = host.run("token").output.strip()
    for body in ({"boot_id": "boot-0001"}, {"boot_id": "boot-0001", "sign_off": True}):
        httpx2.post(
            f"{listening.url}/api/worker/session",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        ).raise_for_status()
    ended = operator.run("fleet", "status", "--check")
    assert ended.exit_code == 1
    assert ended.output.startswith("1 of 1 expected Worker is not connected.\n")
    assert [one["id"] for one in operator.json("workers", "list", "--presence", "missing")] == ["press-01"]
    assert operator.json("workers", "list", "--presence", "lost") == []
