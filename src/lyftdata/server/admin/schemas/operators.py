"""Models of operators, their sessions and passwords in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from lyftdata.core.records import Role
from lyftdata.server.admin.schemas.base import Input

Password = Annotated[SecretStr, Field(max_length=1024)]
Code = Annotated[SecretStr, Field(max_length=64)]
DeviceMark = Annotated[SecretStr, Field(max_length=256)]


class Login(Input):
    """
    Name and password of an operator; `device` is the mark of an earlier sign-in on this device, if it was kept.

    `code` is of the second factor, or a recovery code: without one the answer is 401 `second_factor_required` if there is to be one.
    """

    username: Annotated[str, Field(max_length=256)]
    password: Password
    code: Code | None = None
    device: DeviceMark | None = None


class DeviceLogin(Input):
    """Begins a sign-in by device code; `host` is what the command line calls its host, for the operator who confirms."""

    host: Annotated[str, Field(max_length=256)] = ""


class DeviceLoginBegun(BaseModel):
    """As in RFC 8628, section 3.2: what to show, and what to ask with, every `interval` seconds at most."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceCode(Input):
    """The device code of a sign-in that was begun."""

    device_code: Annotated[SecretStr, Field(max_length=256)]


class PasswordChange(Input):
    """One's own password: the one in force, and the new one; `device` is this device's mark, if it was kept."""

    current_password: Password
    new_password: Password
    device: DeviceMark | None = None


class PasswordCheck(Input):
    """One's own password, and the new one if it is known yet."""

    current_password: Password
    new_password: Password | None = None


class Reauthentication(Input):
    """One's own password, and a code of the second factor if there is one."""

    password: Password
    code: Code | None = None


class Reauthenticated(BaseModel):
    """
    The token that the session has from now on: shown here and nowhere else.

    `asked_again_at` is when what cannot be undone asks again.
    """

    token: str
    asked_again_at: datetime


class NewOperator(Input):
    """An operator to add; without a password a random one is made. With a `scope` they are limited to Workers with these labels."""

    name: str
    role: Role
    password: Password | None = None
    scope: dict[str, str] | None = None


class OperatorChange(Input):
    """What to change of an operator; `reset_password` makes a random one, and `no_scope` ends the limit to labels."""

    role: Role | None = None
    password: Password | None = None
    reset_password: bool = False
    scope: dict[str, str] | None = None
    no_scope: bool = False


class Operator(BaseModel):
    """
    A person who may sign in: by password, or at an OpenID Connect issuer, which is named here.

    `scope` are the labels of the Workers to which they are limited; null for no limit.
    """

    name: str
    role: Role
    scope: dict[str, str] | None
    must_change_password: bool
    created_at: datetime
    issuer: str | None


class ListedOperator(Operator):
    """An operator, and whether they have a second factor."""

    second_factor: bool


class CallerIdentity(BaseModel):
    """
    Who asks: an operator with their role, or an API token (`api_token` is its name) with what it may do for them.

    `scope` is the whole limit of the caller, `key=value` each and sorted by key; of an API token, its own and its operator's together.
    """

    name: str
    role: Role
    scope: list[str] | None
    must_change_password: bool
    created_at: datetime
    issuer: str | None
    api_token: str | None


class Operators(BaseModel):
    """Every operator, by name."""

    items: list[ListedOperator]


class DeviceSignedIn(BaseModel):
    """The session of a sign-in by device code."""

    token: str
    expires_at: datetime
    operator: Operator


class SignedIn(BaseModel):
    """
    A new session; the token is shown here and nowhere else.

    `device` is a mark to keep and to send with the next sign-in on this device: failed sign-ins of others do not make
    that one wait. It opens nothing, and ends after 90 days or with the password.
    """

    token: str
    device: str
    expires_at: datetime
    operator: Operator


class NewOperatorAnswer(BaseModel):
    """An operator just made, and the password if it was made up: shown once."""

    operator: Operator
    password: str | None


class AdminSession(BaseModel):
    """A signed-in session of an operator."""

    id: str
    operator: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime
    address: str
    user_agent: str
    current: bool


class AdminSessions(BaseModel):
    """Open sessions."""

    items: list[AdminSession]
