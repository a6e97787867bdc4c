"""The caller of an action on the Server, as the audit log names it."""

from datetime import datetime
from enum import StrEnum

import msgspec

from lyftdata.core.records import AuditEvent, Role
from lyftdata.core.scopes import UNLIMITED, Scope


class CredentialKind(StrEnum):
    """How a caller of the admin API was authenticated."""

    SESSION = "session"
    API_TOKEN = "api_token"  # noqa: S105 - a kind, not a token


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """
    Another operator's confirmation of a request; it is checked where the request is carried out.

    Attributes:
        request_id: ID of the request.
        by: The operator who confirms, in their own session.
        note: Their note.
        requested_at: When the request was made: it does not cover Workers that were added later.
    """

    request_id: str
    by: "Actor"
    note: str
    requested_at: datetime


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """
    A signed-in operator, or an API token that acts for one, calling from an address.

    Attributes:
        operator: The operator's name; for an API token, the operator who issued it.
        role: The caller's role; for an API token, the lesser of its own and the operator's.
        session_id: Its event streams end with this: the ID of the session, or `api_token:`, the token's public id and its scope.
        address: IP address of the caller.
        must_change_password: The operator still has a first password.
        must_add_second_factor: The settings require a second factor, and the session was opened without one.
        authenticated_at: When the operator last proved in this session who they are; None if that is not known, and for API tokens.
        api_token: Name of the API token; None for a session.
        scope: The Workers, keys and resources that the caller is limited to.
        confirmation: Set while a confirmed request is carried out; the actor is the requester.
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
        """Return how the caller was authenticated."""
        return CredentialKind.SESSION if self.api_token is None else CredentialKind.API_TOKEN

    @property
    def audit_name(self) -> str:
        """Return its name in the audit log: an API token goes by its own name, not by that of its operator."""
        return f"operator:{self.operator}" if self.api_token is None else f"api_token:{self.api_token}"

    @property
    def account(self) -> str:
        """Return the account whose rate limits its requests count against: an API token does not use up its operator's limits."""
        # No operator's name has a colon.
        return self.operator if self.api_token is None else self.audit_name

    def audit_event(
        self, action: str, subject: str, *, at: datetime, details: dict[str, str] | None = None
    ) -> AuditEvent:
        """Return the audit event for one of its actions, with who confirmed it; `details` must hold no secret."""
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
