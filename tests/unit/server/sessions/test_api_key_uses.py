"""When each API key was last used: recorded at every token, written at most once a minute."""

from lyftdata.store.tables import api_keys


async def stored_use(server, admin):
    """Return when and by which Worker the key was last used according to the database; None if it was never used."""
    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    found = await server.services.store.read(lambda conn: api_keys.last_used(conn, [key["public_id"]]))
    return found.get(key["public_id"])


async def use(server, press):
    """Get a token, and let the Server write what is due."""
    assert (await server.token_by_key(*press)).status_code == 200
    await server.services.traces.flush()


async def test_a_first_use_is_written_at_once(server, admin, press):
    """Every Server shows within a second that a key that was not in use has been used."""
    await use(server, press)

    assert await stored_use(server, admin) == (server.clock(), "press-01")


async def test_a_key_in_use_is_written_once_a_minute(server, admin, press):
    """Later uses within the same minute are written when it is over, even if no other use follows."""
    await use(server, press)
    first = await stored_use(server, admin)
    server.clock.forward(seconds=30)
    await use(server, press)
    last_used_at = server.clock()

    assert await stored_use(server, admin) == first
    server.clock.forward(seconds=31)
    await server.services.traces.flush()
    assert await stored_use(server, admin) == (last_used_at, "press-01")


async def test_operators_see_a_use_that_is_not_written_yet(server, admin, press):
    """The Server that the Worker asks lists the last use at once."""
    await use(server, press)
    server.clock.forward(seconds=30)
    await use(server, press)

    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    assert key["last_used_at"] == "2026-03-01T12:00:30Z"


async def test_pending_uses_are_written_at_shutdown(server, admin, press):
    """Even if the minute is not over."""
    await use(server, press)
    server.clock.forward(seconds=30)
    await use(server, press)

    await server.services.traces.flush_all()

    assert await stored_use(server, admin) == (server.clock(), "press-01")


async def test_a_clock_that_was_set_back_delays_nothing(server, admin, press):
    """The minute restarts at the earlier time; a use that seems earlier does not replace a later one."""
    await use(server, press)
    first = await stored_use(server, admin)
    server.clock.forward(seconds=-3600)
    await use(server, press)

    assert await stored_use(server, admin) == first
    assert server.services.traces.key_pending("none") is None
