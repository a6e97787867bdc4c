"""The list of Workers shows clients that register again at each start."""

from tests.builders import ENROLLMENT_KEY

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.runtime.background import look_for_repeated


async def test_clients_that_register_repeatedly_are_shown(server, browser):
    """Above the list, with the remedy; the overview links there. Without such clients nothing is shown."""
    assert "register again" not in (await browser.get("/workers")).text
    for _ in range(6):
        answer = await server.register(generate_identity_key(), "reports", credential=ENROLLMENT_KEY)
        assert answer.status_code == 201
        server.clock.forward(minutes=5)
    await look_for_repeated(server.services)

    page = (await browser.get("/workers")).text
    assert "Clients that register again at each start" in page
    assert 'href="/workers?q=name%3Areports"' in page
    assert "not been used for 7 days" in page
    assert "/workers#repeated" in (await browser.get("/")).text
