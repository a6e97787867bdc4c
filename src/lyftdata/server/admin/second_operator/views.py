"""Builds the admin API's views of requests and rules."""

from typing import Any

import msgspec

from lyftdata.core.second_operator import ALWAYS, DEFAULT, DEFAULT_ABOVE, MEANINGS, ProtectedAction
from lyftdata.server.admin.schemas import change_requests as models
from lyftdata.server.admin.second_operator.queries import ShownRequest
from lyftdata.server.admin.second_operator.rules import RulesNow


def request_view(shown: ShownRequest) -> models.ChangeRequest:
    """Build the full view of a request."""
    return models.ChangeRequest(**_fields(shown), operation=msgspec.to_builtins(shown.asked))


def listed_view(shown: ShownRequest) -> models.ListedRequest:
    """Build the view of a request in a list: in full it may name thousands of Workers."""
    return models.ListedRequest(**_fields(shown))


def _fields(shown: ShownRequest) -> dict[str, Any]:
    record = shown.record
    return {
        "id": record.id,
        "state": shown.state,
        "action": shown.asked.protected,
        "statement": shown.asked.statement,
        "workers": len(shown.asked.workers),
        "requested_by": record.operator,
        "api_token": record.api_token,
        "scope": record.scope,
        "reason": record.reason,
        "requested_at": record.requested_at,
        "expires_at": record.expires_at,
        "decided_at": record.decided_at,
        "decided_by": record.decided_by,
        "note": record.note,
        "can_decide": shown.can_decide,
        "confirmers": shown.confirmers,
    }


def rules_view(now: RulesNow) -> models.SecondOperator:
    """Build the view of the rules, with every available action."""
    rules = now.rules
    return models.SecondOperator(
        enabled=rules is not None,
        above=DEFAULT_ABOVE if rules is None else rules.above,
        actions=[
            models.ChoosableAction(
                action=action,
                meaning=MEANINGS[action],
                required=rules is not None and rules.requires(action),
                proposed=action in DEFAULT,
                always=action in ALWAYS,
            )
            for action in ProtectedAction
        ],
        set_at=None if rules is None else rules.set_at,
        set_by=None if rules is None else rules.set_by,
        able=now.able,
    )
