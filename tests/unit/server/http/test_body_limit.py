"""The size limit of a request's body."""

import pytest


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_64_kib_is_rejected(server, declared):
    """Before authentication, and whether its length was declared or not."""

    async def chunks():
        for _ in range(80):
            yield b"x" * 1024

    answer = await server.http.post(
        "/api/login",
        content=b"x" * 80_000 if declared else chunks(),
        headers={"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
