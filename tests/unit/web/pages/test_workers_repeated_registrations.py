"""The page of Workers shows clients that register again at each start."""

from tests.builders import ENROLLMENT_KEY

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.runtime.background import look_for_repeated


async def test_the_page_shows_the_clients(server, browser):
    """Above the list, with what to do; the overview leads there, and without such clients there is nothing."""
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
