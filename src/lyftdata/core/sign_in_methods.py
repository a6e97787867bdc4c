"""Decides by which methods an operator may sign in, and whether a session may continue."""

from datetime import datetime

import msgspec

from lyftdata.core.records import OperatorRecord


class SignInMethods(msgspec.Struct, frozen=True):
    """
    The sign-in methods that the settings allow.

    Attributes:
        passwords: Whether operators may sign in by password.
        issuer: The OpenID Connect issuer that operators sign in at, or None.
    """

    passwords: bool = True
    issuer: str | None = None

    def allows_password(self, operator: OperatorRecord, *, now: datetime) -> bool:
        """Return whether the operator has a password that is accepted now."""
        if operator.issuer is not None:
            return False
        # An emergency password was set on the Server's host, for a limited time, and is accepted even if others are not.
        if operator.password_expires_at is not None:
            return now < operator.password_expires_at
        return self.passwords

    def allows(self, operator: OperatorRecord, *, now: datetime) -> bool:
        """Return whether a session of the operator may continue."""
        if operator.issuer is not None:
            return self.trusts(operator)
        return self.allows_password(operator, now=now)

    def trusts(self, operator: OperatorRecord) -> bool:
        """Return whether the operator is a local one, or one of the issuer that is configured now."""
        return operator.issuer in {None, self.issuer}
