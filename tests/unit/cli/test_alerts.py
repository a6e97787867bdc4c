"""`lyftdata alerts`."""

import httpx2


def refuse(listening):
    """Cause refusals of an unknown caller."""
    form = {"grant_type": "client_credentials", "client_id": "ghost", "client_secret": "nonsense"}
    for _ in range(3):
        httpx2.post(f"{listening.url}/oauth2/token", data=form, trust_env=False)


def test_an_alert_can_be_snoozed_and_unsnoozed(listening, operator):
    """By the ID in the list, which shows the snooze's end, by whom and why."""
    refuse(listening)
    before = operator.json("alerts", "list")
    (alert,) = [one for one in before["items"] if one["kind"] == "refused"]
    assert alert["id"] in operator.done("alerts", "list")

    operator.done("alerts", "snooze", alert["id"], "--for", "2h", "--note", "the old scanner")

    after = operator.json("alerts", "list")
    assert alert["id"] not in [one["id"] for one in after["items"]]
    (snoozed,) = after["snoozed"]
    assert (snoozed["id"], snoozed["snoozed"]["note"]) == (alert["id"], "the old scanner")
    assert "by admin: the old scanner" in operator.done("alerts", "list")
    operator.done("alerts", "unsnooze", alert["id"])
    assert operator.json("alerts", "list")["snoozed"] == []
    assert operator.run("alerts", "unsnooze", alert["id"]).exit_code == 1
    assert operator.run("alerts", "snooze", alert["id"], "--for", "8d").exit_code == 1
