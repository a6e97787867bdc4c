"""Snoozed alerts: for whom, until when, and what ends the snooze."""

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.deployment import PASSWORD
from tests.unit.server.admin.test_refusal_inbox import refuse, refuse_from

from lyftdata.server.admin.alerts.finder import Alerts
from lyftdata.server.admin.schemas.status import Alert, AlertKind


async def listed_alerts(server, admin):
    """Return the alerts, and the snoozed ones, both by ID."""
    answer = (await server.http.get("/api/attention", headers=admin)).json()
    return ({one["id"]: one for one in answer["items"]}, {one["id"]: one for one in answer["snoozed"]})


async def refused_alert(server, admin):
    """Return the ID of the only alert about refusals."""
    items, _ = await listed_alerts(server, admin)
    (found,) = [one["id"] for one in items.values() if one["kind"] == "refused"]
    return found


async def snooze(server, admin, alert_id, **body):
    """Snooze an alert for an hour; return the answer."""
    body = {"for_s": 3_600, "note": "known"} | body
    return await server.http.post(f"/api/attention/{alert_id}/snooze", json=body, headers=admin)


@pytest.fixture
async def alert_id(server, admin, press):
    """Return the ID of an alert: a Worker is refused from one network."""
    await refuse_from(server, "192.0.2.7")
    return await refused_alert(server, admin)


async def test_a_snoozed_alert_returns_when_the_snooze_ends(server, admin, alert_id):
    """To the second; until then it is listed as snoozed, with end, operator and note, and the snooze is audited."""
    assert (await snooze(server, admin, alert_id)).status_code == 204

    items, snoozed = await listed_alerts(server, admin)
    assert alert_id not in items
    until = f"{server.clock().replace(hour=13):%Y-%m-%dT%H:%M:%SZ}"
    assert snoozed[alert_id]["snoozed"] == {
        "until": until,
        "at": f"{server.clock():%Y-%m-%dT%H:%M:%SZ}",
        "by": "admin",
        "note": "known",
    }
    events = (await server.http.get("/api/audit", headers=admin)).json()["items"]
    (event,) = [one for one in events if one["action"] == "attention.snoozed"]
    assert (event["actor"], event["subject"]) == ("operator:admin", "alert:refused")
    assert event["details"]["until"] == until
    assert event["details"]["note"] == "known"
    server.clock.forward(seconds=3_599)
    assert alert_id in (await listed_alerts(server, admin))[1]
    server.clock.forward(seconds=1)
    await refuse_from(server, "192.0.2.7")
    assert alert_id in (await listed_alerts(server, admin))[0]


async def test_a_snoozed_alert_returns_when_it_gets_worse(server, admin, alert_id):
    """It does if another Worker is refused, or the same one from another network; more refusals of the same caller do not count."""
    await snooze(server, admin, alert_id)
    await refuse_from(server, "192.0.2.8")
    assert alert_id in (await listed_alerts(server, admin))[1]

    await refuse_from(server, "198.51.100.9")
    items, snoozed = await listed_alerts(server, admin)
    assert (alert_id in items, alert_id in snoozed) == (True, False)

    await snooze(server, admin, alert_id)
    assert alert_id in (await listed_alerts(server, admin))[1]
    body = {"name": "press-02", "id": "press-02"}
    await server.http.post("/api/workers", json=body, headers=admin)
    await refuse(server, "press-02")
    assert alert_id in (await listed_alerts(server, admin))[0]


async def test_any_admin_can_end_a_snooze(server, admin, alert_id):
    """A snooze applies to every operator; ending it twice is an error."""
    await snooze(server, admin, alert_id)
    body = {"name": "olga", "role": "admin", "password": PASSWORD}
    await server.http.post("/api/operators", json=body, headers=admin)
    own = {"current_password": PASSWORD, "new_password": "yyy " + PASSWORD}
    await server.http.post("/api/me/password", json=own, headers=await server.sign_in("olga"))
    olga = await server.sign_in("olga", "yyy " + PASSWORD)
    assert alert_id in (await listed_alerts(server, olga))[1]

    path = f"/api/attention/{alert_id}/unsnooze"
    answers = [(await server.http.post(path, headers=olga)).status_code for _ in range(2)]

    assert answers == [204, 404]
    assert alert_id in (await listed_alerts(server, admin))[0]
    events = (await server.http.get("/api/audit", headers=admin)).json()["items"]
    assert [e["actor"] for e in events if e["action"] == "attention.unsnoozed"] == ["operator:olga"]


async def test_snoozing_does_not_affect_events(server, admin, alert_id):
    """A snoozed alert has not ended, and stays the same alert for a webhook."""
    found = {alert.id: alert for alert in await server.services.alerts.find()}
    await snooze(server, admin, alert_id)
    again = {alert.id: alert for alert in await server.services.alerts.find()}

    assert again[alert_id].key == found[alert_id].key
    assert again[alert_id].snoozed is not None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"for_s": 7 * 86_400}, 204),
        ({"for_s": 7 * 86_400 + 1}, 422),
        ({"for_s": 0}, 422),
        ({"note": "n" * 201}, 422),
        ({"for_ever": True}, 422),
    ],
)
async def test_a_snooze_lasts_a_week_at_most_and_has_a_short_note(server, admin, alert_id, body, status):
    """So that no alert stays hidden because it was forgotten."""
    assert (await snooze(server, admin, alert_id, **body)).status_code == status


async def test_an_unknown_alert_cannot_be_snoozed(server, admin, alert_id):
    """Nor does an empty ID match the lines that only count further alerts."""
    for unknown in ("000000000000", alert_id[:-1], alert_id.upper() + "0", "%20", "..%2f"):
        assert (await snooze(server, admin, unknown)).status_code in {404, 405}, unknown


NEVER = [
    Alert(kind=AlertKind.AUDIT_LOG, subject="", title="The log was changed", key="audit_log"),
    Alert(kind=AlertKind.EVENTS_PAUSED, subject="siem", title="Events are paused", key="siem"),
    Alert(kind=AlertKind.PASSKEY_COPIED, subject="olga", title="Copied", key="olga:laptop"),
    Alert(kind=AlertKind.CHANGE_REQUEST, subject="1", title="Asks", key="1"),
    Alert(kind=AlertKind.DUPLICATE, subject="R", title="Copied identity", key="copy:press-01"),
]


@pytest.mark.parametrize("alert", NEVER, ids=lambda alert: f"{alert.kind}")
async def test_an_alert_that_must_not_be_hidden_cannot_be_snoozed(server, admin, monkeypatch, alert):
    """An attacker with an admin's session must not be able to hide what reveals the attack."""

    async def found(*_):
        return [alert]

    monkeypatch.setattr(Alerts, "_find", found)
    items, _ = await listed_alerts(server, admin)
    (shown,) = items.values()

    answer = await snooze(server, admin, shown["id"])

    assert shown["can_snooze"] is False
    assert (answer.status_code, answer.json()["code"]) == (409, "alert_not_snoozable")


async def test_the_number_of_snoozed_alerts_is_limited(server, admin, monkeypatch):
    """At the limit, an alert that is already snoozed can be snoozed again."""
    many = [
        Alert(kind=AlertKind.SETTING, subject="", title=f"Warning {number}", key=f"w{number}")
        for number in range(3)
    ]

    async def found(*_):
        return many

    monkeypatch.setattr(Alerts, "_find", found)
    monkeypatch.setattr("lyftdata.server.admin.alerts.snoozes.MAX_SNOOZED", 2)
    ids = [alert.id for alert in await server.services.alerts.find()]

    answers = [(await snooze(server, admin, one)).status_code for one in [*ids, ids[0]]]

    assert answers == [204, 204, 409, 204]


async def test_a_note_with_a_credential_is_rejected(server, admin, alert_id):
    """The note is shown to every operator and stays in the audit log."""
    answer = await snooze(server, admin, alert_id, note=f"see {ENROLLMENT_KEY}")

    assert (answer.status_code, answer.json()["field"]) == (422, "note")
    assert ENROLLMENT_KEY not in answer.text
    assert alert_id in (await listed_alerts(server, admin))[0]
