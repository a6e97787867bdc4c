"""Decides which operators need a second factor."""

from enum import StrEnum

from lyftdata.core.records import AdminSessionRecord, OperatorRecord, Role


class SecondFactorPolicy(StrEnum):
    """Who must have a second factor; anyone with a password may have one."""

    OPTIONAL = "optional"
    ADMINS = "admins"
    ALL = "all"


def takes_second_factor(operator: OperatorRecord) -> bool:
    """
    Return whether signing in asks for a second factor, if the operator has one.

    Not for operators who sign in at an issuer, which has its own second factor; and not for an emergency password, which is set on
    the Server's host: anyone who can do that can change the database.
    """
    return operator.issuer is None and operator.password_expires_at is None


def needs_second_factor(policy: SecondFactorPolicy, operator: OperatorRecord) -> bool:
    """Return whether the settings require a second factor of an operator."""
    is_required = policy is SecondFactorPolicy.ALL or (
        policy is SecondFactorPolicy.ADMINS and operator.role is Role.ADMIN
    )
    return is_required and takes_second_factor(operator)


def lacks_second_factor(
    policy: SecondFactorPolicy, operator: OperatorRecord, session: AdminSessionRecord
) -> bool:
    """Return whether a session was opened without the second factor that the operator must have."""
    return needs_second_factor(policy, operator) and session.second_factor is None
