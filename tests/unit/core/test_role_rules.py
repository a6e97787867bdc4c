"""Which role the issuer's claims give an operator."""

import pytest

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.records import Role
from lyftdata.core.role_rules import find_claim, find_rule, parse_role_rules

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
def test_a_role_is_given_only_by_an_exact_value(claims, role):
    """The highest one of the matching rules; without a match there is no role."""
    rule = find_rule(claims, RULES)

    assert (None if rule is None else rule.role) is role
    assert rule is None or rule.scope is None


SCOPED = parse_role_rules(
    "viewer for team=etl: g=etl; admin for team=etl,zone=eu: g=leads; admin for team=ops: g=ops; viewer: g=staff; admin: g=root"
)


@pytest.mark.parametrize(
    ("groups", "role", "scope"),
    [
        (["etl"], Role.VIEWER, {"team": "etl"}),
        (["etl", "staff"], Role.VIEWER, None),
        (["etl", "leads"], Role.ADMIN, {"team": "etl", "zone": "eu"}),
        (["ops", "leads"], Role.ADMIN, {"team": "etl", "zone": "eu"}),
        (["staff", "ops"], Role.ADMIN, {"team": "ops"}),
        (["ops", "root", "leads"], Role.ADMIN, None),
    ],
)
def test_a_rule_may_limit_its_role_to_labels(groups, role, scope):
    """Among matching rules the highest role wins, then one without a limit, then the first; limits are not combined."""
    rule = find_rule({"g": groups}, SCOPED)

    assert rule is not None
    assert (rule.role, rule.scope) == (role, scope)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ; ",
        "admin",
        "admin: groups",
        "admin: =ops",
        "admin: groups=",
        "owner: groups=ops",
        "x;" * 101,
        "admin for : g=x",
        "admin for =a: g=x",
        "admin for a=1,a=2: g=x",
        "admin team=etl: g=x",
        "adminfor team=etl: g=x",
    ],
)
def test_a_malformed_rule_is_an_error(text):
    """If it were ignored, the mistake would only be noticed at the next sign-in."""
    with pytest.raises(InvalidInputError):
        parse_role_rules(text)


def test_a_claims_whole_name_takes_precedence():
    """A name with dots is not split if there is a claim of that name."""
    assert find_claim({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert find_claim({"a": {"b": 2}}, "a.b") == 2
