"""Workers that are disabled with a note and an end: the Server enables them then."""

from datetime import timedelta

import pytest

from lyftdata.core.bulk_changes import BulkAction


async def change(server, admin, body, worker_id="press-01"):
    """Change a Worker; return the answer."""
    return await server.http.patch(f"/api/workers/{worker_id}", json=body, headers=admin)


async def shown(server, admin, worker_id="press-01"):
    """Return whether a Worker is enabled, its note and its end."""
    worker = (await server.http.get(f"/api/workers/{worker_id}", headers=admin)).json()
    return worker["enabled"], worker["disabled_note"], worker["disabled_until"]


async def events(server, worker_id="press-01"):
    """Return actor, action and details of the events about a Worker, latest first."""
    log = await server.services.audit_queries.list_page(limit=20, subject=f"worker:{worker_id}")
    return [(event.actor, event.action, event.details) for event in log.items]


async def test_the_server_enables_a_worker_when_the_time_has_come(server, admin, press):
    """Once, with the Server as the actor; older tokens stay refused."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    body = {"enabled": False, "disabled_note": "disk is replaced", "disabled_until": "2h"}
    assert (await change(server, admin, body)).status_code == 200
    assert await shown(server, admin) == (False, "disk is replaced", "2026-03-01T14:00:00Z")

    server.clock.forward(hours=2, seconds=-1)
    await server.services.disabled_workers.enable_due()
    assert not (await shown(server, admin))[0]
    server.clock.forward(seconds=1)
    for _ in range(3):
        await server.services.disabled_workers.enable_due()

    assert await shown(server, admin) == (True, None, None)
    assert (await events(server))[:2] == [
        (
            "server",
            "worker.enabled",
            {"why": "end_of_disabling", "until": "2026-03-01 14:00:00 UTC", "note": "disk is replaced"},
        ),
        (
            "operator:admin",
            "worker.disabled",
            {"note": "disk is replaced", "until": "2026-03-01 14:00:00 UTC"},
        ),
    ]
    assert (await server.verify(token)).status_code == 401
    assert (await server.token_by_key(*press)).status_code == 200


async def test_the_worker_does_not_get_the_note(server, admin, press):
    """Its answer is the same with and without a note."""
    await change(server, admin, {"enabled": False})
    without = (await server.token_by_key(*press)).json()
    await change(server, admin, {"disabled_note": "quarantined: ask Ann", "disabled_until": "2h"})
    answer = await server.token_by_key(*press)

    assert "Ann" not in answer.text
    assert {name for name in without if without[name] != answer.json()[name]} <= {
        "reference",
        "error_description",
    }
    assert "14:00" not in answer.text


@pytest.mark.parametrize(
    ("body", "note", "until"),
    [
        ({"disabled_until": "4h"}, "why", "2026-03-01T16:00:00Z"),
        ({"disabled_until": ""}, "why", None),
        ({"disabled_note": ""}, None, "2026-03-01T14:00:00Z"),
        ({"enabled": False}, "why", None),
        ({"enabled": False, "disabled_until": "1h"}, "why", "2026-03-01T13:00:00Z"),
        ({"labels": {"a": "b"}}, "why", "2026-03-01T14:00:00Z"),
        ({"enabled": True}, None, None),
    ],
)
async def test_note_and_end_can_be_changed_and_cleared(server, admin, press, body, note, until):
    """To disable it again without an end removes the end."""
    await change(server, admin, {"enabled": False, "disabled_note": "why", "disabled_until": "2h"})

    assert (await change(server, admin, body)).status_code == 200

    assert await shown(server, admin) == (body.get("enabled", False), note, until)
    server.clock.forward(hours=2)
    await server.services.disabled_workers.enable_due()
    assert (await shown(server, admin))[0] is (
        until in {"2026-03-01T14:00:00Z", "2026-03-01T13:00:00Z"} or note is until is None
    )


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"enabled": False, "disabled_until": "yesterday"}, 422, "disabled_until"),
        ({"enabled": False, "disabled_until": "2026-03-01T11:59Z"}, 422, "disabled_until"),
        ({"enabled": False, "disabled_note": "x" * 201}, 422, "disabled_note"),
        ({"enabled": True, "disabled_until": "2h"}, 422, "disabled_note"),
        ({"disabled_until": "2h"}, 409, None),
    ],
)
async def test_an_invalid_note_or_end_changes_nothing(server, admin, press, body, status, field):
    """The error names the field."""
    answer = await change(server, admin, body)

    assert (answer.status_code, answer.json().get("field")) == (status, field)
    assert await shown(server, admin) == (True, None, None)


async def test_a_secret_is_not_accepted_as_a_note(server, admin, press):
    """Notes are shown in lists and are in the audit log."""
    body = {"enabled": False, "disabled_note": f"its key is {press[1]}"}

    assert (await change(server, admin, body)).status_code == 422


@pytest.mark.parametrize("how", ["incident", "many"])
async def test_a_later_decision_without_an_end_removes_the_end(server, admin, press, how):
    """After a cut-off, or a bulk change, the Worker must not be enabled by itself."""
    await change(server, admin, {"enabled": False, "disabled_note": "why", "disabled_until": "2h"})
    if how == "incident":
        body = {"subject": "worker:press-01", "workers": "all", "revoke_key": False}
        assert (await server.http.post("/api/incident/cut-offs", json=body, headers=admin)).status_code == 201
    else:
        actor = await server.services.callers.identify(admin["Authorization"].split()[1], address="192.0.2.1")
        await server.services.bulk_changes.change(
            BulkAction.DISABLE, ["press-01"], added_labels={}, actor=actor
        )

    note = {"incident": "Incident worker:press-01", "many": "why"}[how]
    assert await shown(server, admin) == (False, note, None)
    server.clock.forward(hours=3)
    assert await server.services.disabled_workers.enable_due() == 0


async def test_a_previous_end_does_not_apply_to_a_worker_disabled_again(server, admin, press):
    """An operator enabled and disabled it again without an end."""
    await change(server, admin, {"enabled": False, "disabled_until": "2h"})
    await change(server, admin, {"enabled": True})
    await change(server, admin, {"enabled": False})
    server.clock.now += timedelta(hours=3)

    assert await server.services.disabled_workers.enable_due() == 0
    assert await shown(server, admin) == (False, None, None)
