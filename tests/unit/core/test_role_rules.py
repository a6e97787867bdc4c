"""Which role the issuer's claims give."""

import pytest

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.records import Role
from lyftdata.core.role_rules import find_claim, parse_role_rules, role_of

RULES = parse_role_rules(
    "viewer: groups=staff; admin: groups=ops;admin:realm_access.roles = lyftdata-admin\nviewer: https://x.example/role=seer=1"
)


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["ops"]}, Role.ADMIN),
        ({"groups": "ops"}, Role.ADMIN),
        ({"groups": ["staff", "ops"]}, Role.ADMIN),
        ({"groups": ["staff"]}, Role.VIEWER),
        ({"realm_access": {"roles": ["lyftdata-admin"]}}, Role.ADMIN),
        ({"realm_access.roles": ["lyftdata-admin"]}, Role.ADMIN),
        ({"https://x.example/role": "seer=1"}, Role.VIEWER),
        ({"https://x.example/role": "seer"}, None),
        ({"groups": ["OPS", "ops ", "ops-guests", 7, None, ["ops"]]}, None),
        ({"groups": {"ops": True}}, None),
        ({"realm_access": ["roles"]}, None),
        ({"group": ["ops"]}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_role_is_given_by_an_exact_value_and_by_nothing_else(claims, role):
    """The highest that a rule gives; none without a rule that fits."""
    assert role_of(claims, RULES) is role


@pytest.mark.parametrize(
    "text",
    ["", " ; ", "admin", "admin: groups", "admin: =ops", "admin: groups=", "owner: groups=ops", "x;" * 101],
)
def test_a_rule_that_cannot_be_read_is_an_error(text):
    """Not left out: the rule that was meant would be missed at the next sign-in alone."""
    with pytest.raises(InvalidInputError):
        parse_role_rules(text)


def test_a_claim_is_found_by_its_whole_name_first():
    """A name with dots in it is not split if there is a claim of that name."""
    assert find_claim({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert find_claim({"a": {"b": 2}}, "a.b") == 2
