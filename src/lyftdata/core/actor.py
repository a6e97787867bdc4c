"""Who does something on the Server, as the audit log names them."""

from datetime import datetime

import msgspec

from lyftdata.core.records import AuditEvent, Role


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in operator, acting from an address."""

    operator: str
    role: Role
    session_id: str
    address: str
    must_change_password: bool = False

    def audit_event(
        self, action: str, subject: str, *, at: datetime, details: dict[str, str] | None = None
    ) -> AuditEvent:
        """Return the audit event for something this operator does; `details` holds no secret."""
        return AuditEvent(
            at=at,
            actor=f"operator:{self.operator}",
            action=action,
            subject=subject,
            address=self.address,
            details=details or {},
        )
