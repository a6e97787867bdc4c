"""Alerts about keys that expire soon."""

from tests.unit.server.admin.alerts.test_finder import found_alerts


async def test_a_key_that_expires_within_a_week_is_shown_until_it_expires(server, admin):
    """Both sides of both limits."""
    body = {"name": "press-keys", "expires_in_s": 8 * 86_400}
    await server.http.post("/api/api-keys", json=body, headers=admin)
    shown = {("key_expires", "press-keys")}
    for hours, expected in ((24, shown), (7 * 24 - 1, shown), (1, set())):
        server.clock.forward(hours=hours, seconds=-1)
        if hours == 24:
            assert await found_alerts(server, await server.sign_in()) == set()
        server.clock.forward(seconds=1)
        assert await found_alerts(server, await server.sign_in()) == expected


async def test_a_snoozed_key_does_not_hide_another(server, admin):
    """Five keys that expire soon are shown at once, and a sixth as soon as one of them is snoozed."""
    for number in range(6):
        body = {"name": f"press-{number}", "expires_in_s": (number + 1) * 86_400}
        assert (await server.http.post("/api/api-keys", json=body, headers=admin)).status_code == 201
    shown = [one for one in await server.services.alerts.find() if one.kind == "key_expires"]
    assert [one.subject for one in shown] == [f"press-{number}" for number in range(5)]

    body = {"for_s": 3_600}
    answer = await server.http.post(f"/api/attention/{shown[0].id}/snooze", json=body, headers=admin)

    assert answer.status_code == 204, answer.text
    later = [one for one in await server.services.alerts.find() if one.kind == "key_expires"]
    assert [one.subject for one in later] == [*(f"press-{number}" for number in range(1, 6)), "press-0"]
