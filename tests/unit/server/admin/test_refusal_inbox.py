"""Refusals as cases: open, ignored for a time, and solved by themselves."""

from datetime import timedelta
from typing import Any

import pytest

from lyftdata.core.records import RefusalAttempt
from lyftdata.store.tables.refusals import record_refusals

GIVEN: dict[str, Any] = {
    "code": "malformed_api_key",
    "subjects": ["worker:press-01"],
    "for_s": 3_600,
    "note": "known",
}


async def refuse(server, worker_id="press-01", key="nonsense", *, times=3):
    """Let a Worker be refused."""
    for _ in range(times):
        await server.token_by_key(worker_id, key)


async def refuse_from(server, address):
    """Let a caller at an address be refused that claims to be a Worker."""
    form = {"grant_type": "client_credentials", "client_id": "press-01", "client_secret": "nonsense"}
    async with server.from_address(address) as http:
        for _ in range(3):
            await http.post("/oauth2/token", data=form)


async def states(server):
    """Return the cases: cause, subject and state."""
    return {
        (case.code, case.subject, case.state.value) for case in await server.services.refusal_inbox.cases()
    }


async def alerts(server):
    """Return the causes of the alerts about refusals."""
    return [alert.code for alert in await server.services.alerts.find() if alert.kind == "refused"]


async def test_an_ignored_case_raises_no_alert_until_its_time_is_over(server, admin, press):
    """To the second; another caller's case stays open, and the callers stay refused."""
    await refuse(server)
    await refuse(server, "press-99")
    answer = await server.http.post("/api/refusals/ignore", json=GIVEN, headers=admin)
    assert answer.status_code == 204, answer.text
    assert await states(server) == {
        ("malformed_api_key", "worker:press-01", "ignored"),
        ("malformed_api_key", "address:127.0.0.1", "open"),
    }
    assert await alerts(server) == ["malformed_api_key"]
    server.clock.forward(seconds=3_599)
    await refuse(server, times=1)
    assert ("malformed_api_key", "worker:press-01", "ignored") in await states(server)
    server.clock.forward(seconds=1)
    assert ("malformed_api_key", "worker:press-01", "open") in await states(server)


async def test_refusals_from_another_network_are_not_covered_by_an_ignored_case(server, admin, press):
    """All addresses in the network of the decision stay ignored; refusals from any other are an open case and an alert."""
    await refuse_from(server, "192.0.2.7")
    await server.http.post("/api/refusals/ignore", json=GIVEN, headers=admin)
    server.clock.forward(seconds=1)
    await refuse_from(server, "192.0.2.8")
    assert await states(server) == {("malformed_api_key", "worker:press-01", "ignored")}
    assert await alerts(server) == []

    await refuse_from(server, "198.51.100.9")
    assert await states(server) == {
        ("malformed_api_key", "worker:press-01", "ignored"),
        ("malformed_api_key", "worker:press-01", "open"),
    }
    assert await alerts(server) == ["malformed_api_key"]

    await server.http.post("/api/refusals/ignore", json=GIVEN, headers=admin)
    assert await states(server) == {("malformed_api_key", "worker:press-01", "ignored")}
    assert await alerts(server) == []


async def test_made_up_names_do_not_hide_a_worker(server, press):
    """However many unknown callers are refused later, a Worker that is refused repeatedly raises an alert."""
    await refuse(server)
    await server.services.refusals.flush()
    made_up = [
        RefusalAttempt(
            reference=f"R{number:07}",
            at=server.clock() + timedelta(seconds=1),
            address=f"198.51.{number // 250}.{number % 250}",
            claimed_worker=f"ghost-{number}",
            code="unknown_worker",
            detail="",
            proved=False,
        )
        for number in range(600)
    ]
    await server.services.store.write(lambda tx: record_refusals(tx, made_up))
    server.clock.forward(seconds=2)

    found = await server.services.alerts.find()

    assert any("press-01 at 127.0.0.1 was refused 3 times" in alert.title for alert in found)


async def test_a_case_is_solved_when_its_worker_is_accepted(server, press):
    """It is open again when the Worker is refused after that."""
    await refuse(server)
    server.clock.forward(seconds=1)
    assert (await server.token_by_key(*press)).status_code == 200
    assert await states(server) == {("malformed_api_key", "worker:press-01", "solved")}
    server.clock.forward(seconds=1)
    await refuse(server, times=1)
    assert await states(server) == {("malformed_api_key", "worker:press-01", "open")}


async def test_ignoring_and_reopening_are_in_the_audit_log(server, admin, press):
    """With cause, end and note; reopening a case that was not ignored is not an event."""
    await refuse(server)
    await server.http.post("/api/refusals/ignore", json=GIVEN, headers=admin)
    body = {"code": GIVEN["code"], "subjects": [*GIVEN["subjects"], "worker:press-02"]}
    await server.http.post("/api/refusals/reopen", json=body, headers=admin)

    log = await server.services.audit_queries.list_page(limit=9, action="refusal.*")
    assert [(event.action, event.subject) for event in log.items] == [
        ("refusal.reopened", "worker:press-01"),
        ("refusal.ignored", "worker:press-01"),
    ]
    end = server.clock() + timedelta(hours=1)
    assert log.items[1].details == {
        "cause": "malformed_api_key",
        "until": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "note": "known",
    }
    assert await alerts(server) == ["malformed_api_key"]


@pytest.mark.parametrize(
    "change",
    [
        {"code": "banana"},
        {"subjects": []},
        {"subjects": ["press-01"]},
        {"subjects": ["worker:"]},
        {"subjects": ["address:" + "1" * 200]},
        {"subjects": ["worker:a\u202eb"]},
        {"for_s": 0},
        {"for_s": 90 * 86_400 + 1},
        {"note": "x" * 201},
    ],
)
async def test_an_invalid_request_to_ignore_is_rejected(server, admin, change):
    """An impossible cause or caller, or an unlimited time."""
    answer = await server.http.post("/api/refusals/ignore", json=GIVEN | change, headers=admin)
    assert answer.status_code == 422
    assert "refusal.ignored" not in await server.services.audit_queries.known_actions()
