"""Models of the Server's signing keys in the admin API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lyftdata.server.admin.schemas.base import Input

SigningKeyState = Literal["signing", "next", "retired"]


class SigningKey(BaseModel):
    """
    A signing key, without its private key.

    `signing` signs worker tokens now; `next` is published and signs from `signs_from`; `retired` no longer signs, and stays published
    until `retires_at`, when its last token has expired.
    """

    kid: str
    algorithm: str
    state: SigningKeyState
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None


class SigningKeys(BaseModel):
    """Every signing key in the JWKS, in the order in which they are used for signing."""

    items: list[SigningKey]


class SigningKeyRotation(Input):
    """
    Without `now` the next key is published, and signs in a day; with `now` another key signs at once.

    Keys in `withdraw` leave the JWKS at once, and the Servers refuse the tokens that they signed; this requires `now`.
    """

    now: bool = False
    withdraw: Annotated[list[str], Field(max_length=64, default_factory=list)]
