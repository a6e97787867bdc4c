"""Which operators need a second factor."""

from typing import Any

import pytest
from tests.builders import NOON

from lyftdata.core.records import AdminSessionRecord, OperatorRecord, Role
from lyftdata.core.second_factor_policy import SecondFactorPolicy, lacks_second_factor, takes_second_factor


def operator(**fields):
    """Return an operator."""
    values: dict[str, Any] = {"name": "ada", "role": Role.ADMIN, "password_hash": "x", "created_at": NOON}
    return OperatorRecord(**values | fields)


def session(factor=None):
    """Return a session."""
    return AdminSessionRecord(
        id="s", operator="ada", digest=b"", created_at=NOON, expires_at=NOON, address="", second_factor=factor
    )


@pytest.mark.parametrize("policy", list(SecondFactorPolicy))
@pytest.mark.parametrize("role", list(Role))
def test_the_policy_decides_who_needs_a_second_factor(policy, role):
    """`optional`: no operator; `admins`: admins; `all`: everyone. A session that was opened with one is enough."""
    is_required = policy is SecondFactorPolicy.ALL or (
        policy is SecondFactorPolicy.ADMINS and role is Role.ADMIN
    )

    assert lacks_second_factor(policy, operator(role=role), session()) is is_required
    assert not lacks_second_factor(policy, operator(role=role), session("totp"))


@pytest.mark.parametrize("fields", [{"issuer": "https://id.example"}, {"password_expires_at": NOON}])
def test_an_issuers_and_an_emergency_operator_need_no_second_factor(fields):
    """The issuer has its own; emergency access was granted on the Server's host."""
    assert not takes_second_factor(operator(**fields))
    assert not lacks_second_factor(SecondFactorPolicy.ALL, operator(**fields), session())
