"""Refusals as operators see them."""


async def test_an_unknown_cause_is_an_error(server, admin):
    """A misspelt filter must not look like an empty list."""
    answer = await server.http.get("/api/refusals", params={"code": "banana"}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
