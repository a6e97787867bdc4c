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
    Name and password of an operator; `device` is the mark of an earlier sign-in on this device, if there is one.

    `code` is of the second factor, or a recovery code: without a required one the answer is 401 `second_factor_required`.
    """

    username: Annotated[str, Field(max_length=256)]
    password: Password
    code: Code | None = None
    device: DeviceMark | None = None


class DeviceLogin(Input):
    """Begins a sign-in by device code; `host` is the command line's name for its host, shown to the operator who confirms."""

    host: Annotated[str, Field(max_length=256)] = ""


class DeviceLoginBegun(BaseModel):
    """The response of RFC 8628, section 3.2: what to show, and the code to poll with, at most every `interval` seconds."""

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
    """The caller's current password and the new one; `device` is this device's mark, if there is one."""

    current_password: Password
    new_password: Password
    device: DeviceMark | None = None


class PasswordCheck(Input):
    """The caller's current password, and the new one if it is already known."""

    current_password: Password
    new_password: Password | None = None


class Reauthentication(Input):
    """The caller's password, and a code of the second factor if there is one."""

    password: Password
    code: Code | None = None


class Reauthenticated(BaseModel):
    """
    The session's new token: shown only here.

    `asked_again_at` is when actions that cannot be undone require authentication again.
    """

    token: str
    asked_again_at: datetime


class NewOperator(Input):
    """An operator to add; without a password a random one is generated. With a `scope` they are limited to Workers with these labels."""

    name: str
    role: Role
    password: Password | None = None
    scope: dict[str, str] | None = None


class OperatorChange(Input):
    """What to change of an operator; `reset_password` generates a random one, and `no_scope` removes the limit to labels."""

    role: Role | None = None
    password: Password | None = None
    reset_password: bool = False
    scope: dict[str, str] | None = None
    no_scope: bool = False


class Operator(BaseModel):
    """
    A person who may sign in: by password, or at the OpenID Connect issuer that is named here.

    `scope` are the labels of the Workers that they are limited to; null for no limit.
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
    The caller: an operator with their role, or an API token (`api_token` is its name) with what it may do for them.

    `scope` is the caller's full scope, `key=value` each and sorted by key; for an API token, its own and its operator's together.
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
    A new session; the token is shown only here.

    `device` is a mark to keep and to send with the next sign-in on this device: other people's failed sign-ins do not delay
    that one. It gives no access, and ends after 90 days or with the password.
    """

    token: str
    device: str
    expires_at: datetime
    operator: Operator


class NewOperatorAnswer(BaseModel):
    """A newly created operator, and the password if it was generated: shown once."""

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
