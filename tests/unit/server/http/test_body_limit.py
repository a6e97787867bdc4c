"""The limit of a request's body."""

import pytest


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_without_end_is_not_read(server, declared):
    """Before anybody is asked who they are, more than 64 KiB is refused, whether its length was told or not."""

    async def chunks():
        for _ in range(80):
            yield b"x" * 1024

    answer = await server.http.post(
        "/api/login",
        content=b"x" * 80_000 if declared else chunks(),
        headers={"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
