"""The alert about a passkey that may have been copied."""

import pytest
from tests.authenticator import Authenticator
from tests.unit.server.admin.alerts.test_watch import alerts, look
from tests.unit.server.admin.test_passkeys import actor_of, asked, prove, register

from lyftdata.core.errors import SecondFactorFailedError


@pytest.fixture
async def actor(server, admin):
    """Return the admin, signed in."""
    return await actor_of(server, admin)


async def use_a_copy(server, actor, name="desk"):
    """Register a passkey, use it twice, and try a copy of it."""
    key = Authenticator()
    await register(server, actor, key, name)
    copied = key.copy()
    for _ in range(2):
        await prove(server, actor, key.get(await asked(server, actor)))
    with pytest.raises(SecondFactorFailedError):
        await prove(server, actor, copied.get(await asked(server, actor)))


async def copied(server):
    """Return the alerts about copied passkeys: operator, title and detail."""
    found = await server.services.alerts.find()
    return [(one.subject, one.title, one.detail) for one in found if one.kind == "passkey_copied"]


async def test_a_passkey_that_may_have_been_copied_raises_an_alert(server, actor):
    """It names the operator, the passkey and the address, and is delivered as one event."""
    assert await copied(server) == []
    await use_a_copy(server, actor)

    (found,) = await copied(server)
    await look(server)
    await look(server)

    assert found[:2] == ("admin", "The passkey desk of admin may have been copied")
    assert "192.0.2.9" in found[2]
    assert await alerts(server) == [("alert.passkey_copied", "alert:passkey_copied", found[1])]


@pytest.mark.parametrize("how", ["removed", "a day later", "made again"])
async def test_the_alert_about_a_copied_passkey_ends(server, actor, how):
    """When the passkey is removed, even if a new one has its name by then; or after a day without another attempt."""
    await use_a_copy(server, actor)
    if how == "a day later":
        server.clock.forward(hours=24, seconds=1)
    else:
        [record] = await server.services.passkeys.list("admin")
        await server.services.passkeys.remove(record.id, actor=actor)
    if how == "made again":
        server.clock.forward(seconds=1)
        await register(server, actor, Authenticator(), "desk")

    assert await copied(server) == []
