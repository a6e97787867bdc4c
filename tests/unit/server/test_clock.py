"""A clock that is set back."""

from datetime import timedelta


async def test_the_clock_is_not_needed_to_be_monotonic(server, press):
    """A clock set back neither crashes nor opens anything."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    server.clock.now -= timedelta(days=1)

    assert (await server.token_by_key(*press)).status_code == 200
    assert (await server.verify(token)).status_code == 204
