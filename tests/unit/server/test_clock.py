"""A system clock that is set back."""

from datetime import timedelta


async def test_the_clock_may_be_set_back(server, press):
    """Tokens are still issued and verified."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    server.clock.now -= timedelta(days=1)

    assert (await server.token_by_key(*press)).status_code == 200
    assert (await server.verify(token)).status_code == 204
