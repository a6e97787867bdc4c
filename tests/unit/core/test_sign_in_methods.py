"""How an operator may sign in."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON

from lyftdata.core.records import OperatorRecord, Role
from lyftdata.core.sign_in_methods import SignInMethods

ISSUER = "https://id.example"
LOCAL = OperatorRecord(name="ada", role=Role.ADMIN, password_hash="$argon2id$", created_at=NOON)
OF_ISSUER = msgspec.structs.replace(LOCAL, password_hash="", issuer=ISSUER, subject="1")
EMERGENCY = msgspec.structs.replace(LOCAL, password_expires_at=NOON + timedelta(hours=1))


@pytest.mark.parametrize(
    ("passwords", "issuer", "operator", "after", "session", "password"),
    [
        (True, None, LOCAL, 0, True, True),
        (True, ISSUER, LOCAL, 0, True, True),
        (False, ISSUER, LOCAL, 0, False, False),
        (False, ISSUER, OF_ISSUER, 0, True, False),
        (True, ISSUER, OF_ISSUER, 0, True, False),
        (True, None, OF_ISSUER, 0, False, False),
        (True, "https://other.example", OF_ISSUER, 0, False, False),
        (False, ISSUER, EMERGENCY, 3_599, True, True),
        (False, ISSUER, EMERGENCY, 3_600, False, False),
        (True, None, EMERGENCY, 3_599, True, True),
        (True, None, EMERGENCY, 3_600, False, False),
    ],
)
def test_a_sign_in_method_works_only_while_the_settings_allow_it(
    passwords, issuer, operator, after, session, password
):
    """A password if password sign-in is on or for an emergency; otherwise only the configured issuer."""
    methods = SignInMethods(passwords=passwords, issuer=issuer)
    now = NOON + timedelta(seconds=after)
    assert methods.allows(operator, now=now) is session
    assert methods.allows_password(operator, now=now) is password
