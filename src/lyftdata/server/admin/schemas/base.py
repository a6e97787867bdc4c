"""Base classes and error answers of the admin API's models."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from lyftdata.core.names import check_storable


class Input(BaseModel):
    """Input from a caller: unknown fields are rejected, since a misspelled one would be lost silently."""

    # The rejected input is never repeated in an error: it may be a password in the wrong field.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        """Reject text that cannot be stored, anywhere in the body; raises InvalidInputError."""
        if isinstance(value, dict):
            for field, inner in value.items():
                _check_storable(str(field), inner)
        return value


def _check_storable(field: str, value: Any) -> None:
    """Check a value and everything in it; the JSON parser limits the depth."""
    if isinstance(value, str):
        check_storable(field, value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_storable(field, str(key))
            _check_storable(field, inner)
    elif isinstance(value, list):
        for inner in value:
            _check_storable(field, inner)


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        # The first and the last day of the calendar, in a zone in which UTC is the day before or after.
        raise ValueError("must be a time from year 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with a zone, in UTC."""

Labels = Annotated[dict[str, str], Field(max_length=64)]


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    field: str | None = None
    request_id: str | None = None
    """Only for `second_operator_required`: the request that waits for another operator."""
    confirmers: list[str] | None = None
    """Only for `second_operator_required`: who can confirm it, if the caller may know them."""
