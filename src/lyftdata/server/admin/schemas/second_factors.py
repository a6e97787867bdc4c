"""Models of second factors in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from lyftdata.core.records import SecondFactorKind
from lyftdata.server.admin.schemas.base import Input
from lyftdata.server.admin.schemas.operators import Code


class SecondFactor(BaseModel):
    """A second factor, without its secret."""

    kind: SecondFactorKind
    created_at: datetime
    used_at: datetime | None


class Passkey(BaseModel):
    """A passkey, with the name that its operator chose. `id` is the Server's ID, with which it is removed."""

    id: str
    name: str
    created_at: datetime
    used_at: datetime | None


class Passkeys(BaseModel):
    """Passkeys of an operator, the oldest first."""

    items: list[Passkey]


class SecondFactors(BaseModel):
    """The caller's own apps (`factors`) and passkeys, and how many recovery codes are unused."""

    factors: list[SecondFactor]
    passkeys: list[Passkey]
    recovery_codes: int


class TotpSetup(BaseModel):
    """
    A secret for an authenticator app, as text and as a URI; `setup` is sent back with the code that the app shows.

    `qr_text` is the QR code of the URI in half-block characters, for a terminal.
    """

    secret: str
    uri: str
    qr_text: str
    setup: str


class TotpConfirmation(Input):
    """The `setup` from the first step, and the code that the app shows now."""

    setup: Annotated[SecretStr, Field(max_length=500)]
    code: Code


class RecoveryCodes(BaseModel):
    """Recovery codes: shown only here. Each signs its operator in once."""

    recovery_codes: list[str]
