"""Base classes and error answers of the admin API's models."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lyftdata.core.names import check_storable


class Input(BaseModel):
    """What a caller sends: unknown fields are refused, since a misspelt one would be lost silently."""

    # The rejected input is never repeated in an error: it may be a password in the wrong field.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        """Refuse what cannot be stored, wherever in the body it is; raises InvalidInputError."""
        if isinstance(value, dict):
            for field, inner in value.items():
                _check_storable(str(field), inner)
        return value


def _check_storable(field: str, value: Any) -> None:
    """Check a value and everything in it; how deep that goes, the JSON parser has bounded."""
    if isinstance(value, str):
        check_storable(field, value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_storable(field, str(key))
            _check_storable(field, inner)
    elif isinstance(value, list):
        for inner in value:
            _check_storable(field, inner)


Labels = Annotated[dict[str, str], Field(max_length=64)]


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    field: str | None = None
