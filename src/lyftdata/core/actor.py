"""Who does something on the Server, as the audit log names them."""

from datetime import datetime
from enum import StrEnum

import msgspec

from lyftdata.core.records import AuditEvent, Role
from lyftdata.core.scopes import UNLIMITED, Scope


class CredentialKind(StrEnum):
    """By what a caller of the admin API was identified."""

    SESSION = "session"
    API_TOKEN = "api_token"  # noqa: S105 - a kind, not a token


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """
    That another operator confirms what somebody has asked for; whether it counts is checked where it is carried out.

    Attributes:
        request_id: Of the request.
        by: Who confirms, in their own session.
        note: What they say about it.
        requested_at: When it was asked for: a Worker that was made later was not meant.
    """

    request_id: str
    by: "Actor"
    note: str
    requested_at: datetime


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """
    A signed-in operator, or an API token that acts for one, calling from an address.

    Attributes:
        operator: The operator's name; of an API token, that of the operator who issued it.
        role: What it may do at most; of an API token, the lesser of its own and the operator's.
        session_id: What ends its streams when it ends: the ID of the session, or `api_token:`, the token's public id and its scope.
        address: IP address of the caller.
        must_change_password: The operator still has a first password.
        must_add_second_factor: The settings require a second factor, and the session was opened without one.
        authenticated_at: When the operator last proved in this session who they are; None if that is not known, and for API tokens.
        api_token: Name of the API token; None for a session.
        scope: To which Workers, keys and resources it is limited.
        confirmation: Where a request is carried out, who confirms it; everything is done by the requester.
    """

    operator: str
    role: Role
    session_id: str
    address: str
    must_change_password: bool = False
    must_add_second_factor: bool = False
    authenticated_at: datetime | None = None
    api_token: str | None = None
    scope: Scope = UNLIMITED
    confirmation: Confirmation | None = None

    @property
    def credential(self) -> CredentialKind:
        """Return by what the caller was identified."""
        return CredentialKind.SESSION if self.api_token is None else CredentialKind.API_TOKEN

    @property
    def audit_name(self) -> str:
        """Return what the audit log calls it: an API token is named itself, not the operator for whom it acts."""
        return f"operator:{self.operator}" if self.api_token is None else f"api_token:{self.api_token}"

    @property
    def account(self) -> str:
        """Return whose budget and limits its requests count against: automation does not use up those of its operator."""
        # No operator's name has a colon.
        return self.operator if self.api_token is None else self.audit_name

    def audit_event(
        self, action: str, subject: str, *, at: datetime, details: dict[str, str] | None = None
    ) -> AuditEvent:
        """Return the audit event for something that it does; `details` holds no secret. Who has confirmed it is in the event too."""
        confirmation = self.confirmation
        confirmed = (
            {}
            if confirmation is None
            else {"request": confirmation.request_id, "confirmed_by": confirmation.by.audit_name}
        )
        return AuditEvent(
            at=at,
            actor=self.audit_name,
            action=action,
            subject=subject,
            address=self.address,
            details={**(details or {}), **confirmed},
        )
