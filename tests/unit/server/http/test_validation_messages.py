"""What the admin API answers about a value that it rejects."""

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from lyftdata.server.http.validation_messages import describe_invalid


class Body(BaseModel):
    """A request body."""

    days: int = Field(ge=1, le=9)
    name: str = Field(min_length=2, max_length=4)


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"days": 0, "name": "ab"}, "days", "must be at least 1"),
        ({"days": 10, "name": "ab"}, "days", "must be at most 9"),
        ({"days": "x", "name": "ab"}, "days", "must be a whole number"),
        ({"days": 1, "name": "a"}, "name", "must have at least 2 characters"),
        ({"days": 1, "name": "abcde"}, "name", "must have at most 4 characters"),
        ({"days": 1}, "name", "is required"),
    ],
)
def test_a_broken_rule_is_explained_in_plain_words(given, field, said):
    """With the name of the member, and never with the value."""
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Body).validate_python(given)

    assert describe_invalid(raised.value.errors()[0]) == (field, said)


@pytest.mark.parametrize("at", ["yesterday", "2026-03-01", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z"])
async def test_an_invalid_time_is_rejected_with_a_clear_message(server, admin, at):
    """In our words rather than a library's."""
    answer = await server.http.get("/api/audit/access", params={"at": at}, headers=admin)

    assert (answer.status_code, answer.json()["field"]) == (422, "at")
    assert answer.json()["detail"].startswith("at: must ")


async def test_a_missing_parameter_or_invalid_json_is_named(server, admin):
    """So that the caller knows what to correct."""
    answer = await server.http.get("/api/audit/access", headers=admin)
    assert answer.json()["detail"] == "at: is required"

    headers = admin | {"Content-Type": "application/json"}
    answer = await server.http.post("/api/workers", content=b"{", headers=headers)
    assert answer.json()["detail"] == "body: must be JSON"
