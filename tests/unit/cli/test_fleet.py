"""`lyftdata fleet`."""

import json

import httpx2

from lyftdata.cli.fleet import _show_affected, _show_version_history


def test_a_fleet_without_connected_workers_expects_none(operator):
    """As text and as JSON; `--check` succeeds."""
    assert operator.done("fleet", "status") == "No Worker is expected yet.\n"
    assert operator.json("fleet", "status")["level"] == "none"
    assert operator.run("fleet", "status", "--check").exit_code == 0


def test_a_missing_worker_is_reported_and_fails_the_check(listening, operator):
    """A Worker that was connected is expected: after it signed off, `--check` exits with 1, and the list names it."""
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


def connect_agent(listening, operator, name, version):
    """Add a Worker and connect as its agent, with this version."""
    key = operator.done("workers", "add", name, "--id", name, "--issue-key").strip()
    host = listening.worker_host(name, LYFTDATA_WORKER_ID=name, LYFTDATA_WORKER_API_KEY=key)
    bearer = {"Authorization": f"Bearer {host.run('token').output.strip()}"}
    body = {"boot_id": "boot-0001", "host": {"agent_version": version}}
    httpx2.post(f"{listening.url}/api/worker/session", json=body, headers=bearer, trust_env=False)


def test_a_policy_lists_every_worker_that_it_affects(listening, operator, monkeypatch):
    """However many pages that takes, for a policy that is only checked and for the current one."""
    for number in range(3):
        connect_agent(listening, operator, f"old-{number}", "0.3")
    monkeypatch.setattr("lyftdata.cli.fleet._PAGE", 1)
    expected = [f"old-{number}" for number in range(3)]

    checked = operator.run("fleet", "policy", "--refuse-below", "0.4", "--check", "--json")
    assert (checked.exit_code, [one["id"] for one in json.loads(checked.output)["items"]]) == (1, expected)

    operator.done("fleet", "policy", "--refuse-below", "0.4", "--yes")
    assert [one["id"] for one in operator.json("fleet", "policy")["items"]] == expected
    operator.done("fleet", "policy", "--clear", "--yes")
    for worker_id in expected:
        operator.done("workers", "delete", worker_id, "--yes")


def test_a_policy_is_shown_before_it_is_saved(listening, operator):
    """With the affected Workers; `--check` lists them, changes nothing and exits with 1."""
    connect_agent(listening, operator, "press-02", "1.1.0")
    given = ("--warn-below", "1.4", "--refuse-below", "1.2", "--from", "2099-03-01")

    assert ["1.1.0", "1", "1", "current"] in [
        line.split() for line in operator.done("fleet", "versions").splitlines()
    ]
    checked = operator.run("fleet", "policy", *given, "--check")
    assert checked.exit_code == 1
    assert "press-02 (press-02): agent 1.1.0, online: refused from 2099-03-01T00:00:00Z" in checked.output
    assert operator.run("fleet", "policy", *given).exit_code == 2
    assert operator.json("fleet", "policy")["policy"] is None
    assert operator.run("fleet", "policy", "--check").exit_code == 0

    saved = operator.done("fleet", "policy", *given, "--yes")
    assert saved.startswith(
        "Warned: agents below 1.4.\nRefused: agents below 1.2, from 2099-03-01T00:00:00Z on.\n"
    )
    assert "warns 1, of which 1 will be refused" in saved
    assert operator.run("fleet", "policy", "--check").exit_code == 1
    operator.done("fleet", "policy", "--clear", "--yes")
    assert operator.done("fleet", "policy") == "No fleet policy: agents of every version are accepted.\n"


def test_the_question_for_a_large_fleet_fits_a_screen():
    """It names the first twenty Workers and says how many more there are; `--check` lists all of them."""
    one = {
        "name": "w",
        "id": "w",
        "version": "1.1",
        "online": True,
        "standing": "warned",
        "refused_from": None,
    }
    found = {"items": [one] * 500, "total": 3_000}
    asked: list[str] = []
    checked: list[str] = []

    _show_affected(found, to=asked.append, most=20)
    _show_affected(found, to=checked.append)

    assert (len(asked), asked[-1]) == (21, "and 2,980 more; --check lists them")
    assert (len(checked), checked[-1]) == (501, "and 2,500 more")


def test_options_that_do_not_make_a_policy_are_rejected(operator):
    """Before any question or request, with exit code 2."""
    assert operator.run("fleet", "policy", "--clear", "--check").exit_code == 2
    assert operator.run("fleet", "policy", "--refuse-below", "1.2", "--from", "soon").exit_code == 2
    assert operator.run("fleet", "policy", "--refuse-below", "latest", "--yes").exit_code != 0


def test_versions_over_time_are_listed_only_when_they_change(operator, capsys):
    """An hour with the same numbers as the previous one is left out; control characters in reported versions are removed."""
    steps = [
        ("2026-03-01T12:00:00Z", [("1.3", 5)], 0),
        ("2026-03-01T13:00:00Z", [("1.3", 5)], 0),
        ("2026-03-01T14:00:00Z", [("1.4\x1b[31m", 1234), ("", 2)], 7),
    ]
    points = [
        {"at": at, "others": others, "versions": [{"version": v, "workers": n} for v, n in versions]}
        for at, versions, others in steps
    ]
    _show_version_history({"points": points})

    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["2026-03-01 12:00", "2026-03-01 14:00"]
    assert lines[2].endswith("(none): 2, others: 7")
    assert "1,234" in lines[2]
    assert "\x1b" not in lines[2]
    assert operator.json("fleet", "versions", "--over", "year")["period"] == "year"
    assert operator.run("fleet", "versions", "--over", "day").exit_code == 2
