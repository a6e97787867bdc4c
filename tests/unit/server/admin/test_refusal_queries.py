"""Refusals as operators read them."""


async def test_a_cause_that_there_is_not_is_no_good_news(server, admin):
    """A misspelt filter is an error, not an empty list."""
    answer = await server.http.get("/api/refusals", params={"code": "banana"}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
