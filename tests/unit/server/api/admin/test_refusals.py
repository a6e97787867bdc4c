"""`/api/refusals`."""

import pytest


@pytest.fixture
async def reference(server, press):
    """Return the reference of a refusal."""
    answer = await server.token_by_key("press-01", press[1][:-1])
    return answer.json()["reference"]


async def test_a_refusal_is_found_by_its_reference(server, admin, reference):
    """With the cause, which the caller did not learn."""
    found = (await server.http.get(f"/api/refusals/{reference}", headers=admin)).json()

    assert (found["code"], found["claimed_worker"]) == ("malformed_api_key", "press-01")
    assert found["remedy"]


async def test_refusals_are_grouped_by_cause(server, admin, reference):
    """And can be filtered by cause or text."""
    for query in ({}, {"code": "malformed_api_key"}, {"q": "press"}):
        items = (await server.http.get("/api/refusals", params=query, headers=admin)).json()["items"]
        assert [group["last_reference"] for group in items] == [reference]
    assert (await server.http.get("/api/refusals", params={"q": "other"}, headers=admin)).json()[
        "items"
    ] == []


async def test_a_cause_that_does_not_exist_is_rejected(server, admin):
    """An empty list would be mistaken for good news."""
    answer = await server.http.get("/api/refusals", params={"code": "wrong_api_kye"}, headers=admin)

    assert (answer.status_code, answer.json()["field"]) == (422, "code")


async def test_an_unknown_reference_is_not_found(server, admin):
    """With 404."""
    assert (await server.http.get("/api/refusals/00000000", headers=admin)).status_code == 404
