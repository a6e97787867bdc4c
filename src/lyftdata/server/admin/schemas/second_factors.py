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
    """A passkey, as its operator named it. `id` is the Server's, to remove it by."""

    id: str
    name: str
    created_at: datetime
    used_at: datetime | None


class Passkeys(BaseModel):
    """Passkeys of an operator, the oldest first."""

    items: list[Passkey]


class SecondFactors(BaseModel):
    """One's own apps (`factors`) and passkeys, and how many recovery codes were not used yet."""

    factors: list[SecondFactor]
    passkeys: list[Passkey]
    recovery_codes: int


class TotpSetup(BaseModel):
    """
    A secret for an authenticator app, as text and as an address; `setup` is sent back with the code that the app shows.

    `qr_text` is the QR code of the address in half blocks, for a terminal.
    """

    secret: str
    uri: str
    qr_text: str
    setup: str


class TotpConfirmation(Input):
    """What the setup has answered, and the code that the app shows now."""

    setup: Annotated[SecretStr, Field(max_length=500)]
    code: Code


class RecoveryCodes(BaseModel):
    """Recovery codes: shown here and nowhere else. Each signs its operator in once."""

    recovery_codes: list[str]
