"""Which keys end soon."""

from tests.unit.server.admin.alerts.test_finder import concerns


async def test_a_key_that_ends_within_a_week_is_shown_until_it_has(server, admin):
    """Both sides of both boundaries."""
    body = {"name": "press-keys", "expires_in_s": 8 * 86_400}
    await server.http.post("/api/api-keys", json=body, headers=admin)
    shown = {("key_expires", "press-keys")}
    for hours, expected in ((24, shown), (7 * 24 - 1, shown), (1, set())):
        server.clock.forward(hours=hours, seconds=-1)
        if hours == 24:
            assert await concerns(server, await server.sign_in()) == set()
        server.clock.forward(seconds=1)
        assert await concerns(server, await server.sign_in()) == expected
