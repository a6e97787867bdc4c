"""Sign-in by device code with several Servers: started, confirmed and redeemed at different ones."""

import asyncio

from tests.deployment import PASSWORD
from tests.unit.web.conftest import signed_in


async def test_each_step_may_take_place_at_another_server(two):
    """Of several callers that redeem one code at once, at different Servers, exactly one gets a session."""
    first, second = two
    headers = await second.sign_in()
    change = {"current_password": PASSWORD, "new_password": "xxx " + PASSWORD}
    await second.http.post("/api/me/password", json=change, headers=headers)
    browser = await signed_in(second, "admin", "xxx " + PASSWORD)
    begun = (await first.http.post("/api/login/device", json={"host": "laptop"})).json()

    answer = await browser.post("/device", user_code=begun["user_code"], decision="approve")

    assert answer.status_code == 303
    body = {"device_code": begun["device_code"]}
    answers = await asyncio.gather(
        *(server.http.post("/api/login/device/token", json=body) for server in (first, second, first, second))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    await browser.http.aclose()
