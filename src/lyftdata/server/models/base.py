"""What every shape of the admin API is made from, and how it says no."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Input(BaseModel):
    """What a caller sends: unknown fields are refused, since a misspelt one would be lost silently."""

    # The rejected input is never repeated in an error: it may be a password in the wrong field.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


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
