"""
Maps claims of the OpenID Connect issuer to an operator's role and scope, by rules; without a matching rule there is no role.

    admin: groups=platform-admins; viewer: groups=staff; admin for team=etl: groups=etl-leads
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_label_text
from lyftdata.core.records import Labels, Role
from lyftdata.core.scopes import parse_scope

_MAX_RULES = 100
_RANK = (Role.ADMIN, Role.VIEWER)


class RoleRule(msgspec.Struct, frozen=True):
    """
    A role for operators whose claim equals a value, or is a list that contains it.

    `scope` holds the labels of the Workers that the role is limited to (`core.scopes`), None for no limit.
    """

    role: Role
    claim: str
    value: str
    scope: Labels | None = None


def parse_role_rules(text: str) -> tuple[RoleRule, ...]:
    """Read rules separated by semicolons, each `ROLE: CLAIM=VALUE` or `ROLE for LABELS: CLAIM=VALUE`; raises InvalidInputError."""
    rules = tuple(_parse_rule(part.strip()) for part in text.replace("\n", ";").split(";") if part.strip())
    if not 1 <= len(rules) <= _MAX_RULES:
        raise InvalidInputError("role_rules", f"must hold 1 to {_MAX_RULES} rules")
    return rules


def _parse_rule(text: str) -> RoleRule:
    given, _, condition = text.partition(":")
    role, limit, labels = given.strip().partition(" for ")
    claim, _, value = condition.partition("=")
    role, claim, value = role.strip().lower(), claim.strip(), value.strip()
    if role not in set(Role) or not claim or not value:
        raise InvalidInputError(
            "role_rules",
            "must be rules like `admin: groups=platform-admins; viewer: groups=staff`; the roles are "
            + " and ".join(Role)
            + ", each alone or with labels as in `admin for team=etl`",
        )
    return RoleRule(Role(role), claim, value, _parse_limit(labels) if limit else None)


def _parse_limit(labels: str) -> Labels:
    try:
        return parse_scope(parse_label_text(labels))
    except InvalidInputError as error:
        raise InvalidInputError("role_rules", f"labels {error.message}") from error


def find_rule(claims: Mapping[str, Any], rules: Sequence[RoleRule]) -> RoleRule | None:
    """
    Return the rule that applies, or None. Default deny: signing in at the issuer alone grants nothing.

    Of several matching rules, the one with the highest role applies; of those, one without a limit, otherwise the first. Limits are
    not combined: the Workers of two teams are not one scope.
    """
    fitting = [rule for rule in rules if rule.value in _texts(find_claim(claims, rule.claim))]
    return min(fitting, key=lambda rule: (_RANK.index(rule.role), rule.scope is not None), default=None)


def find_claim(claims: Mapping[str, Any], name: str) -> object:
    """
    Return a claim, or None: by its whole name, which may contain dots, otherwise by a path such as `realm_access.roles`.
    """
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(claim: object) -> Iterator[str]:
    """Yield the strings in a claim. They are compared exactly: `staff` is neither `non-staff` nor `Staff`."""
    yield from (text for text in (claim if isinstance(claim, list) else [claim]) if isinstance(text, str))
