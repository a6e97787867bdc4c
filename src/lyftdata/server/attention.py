"""
What needs an operator's attention, each with what it is about: the pages turn that into the action that mends it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from lyftdata.server import models, queries
from lyftdata.server.models import Attention, Concern
from lyftdata.server.services import Services

_RECENTLY = timedelta(hours=1)
_EXPIRES_SOON = timedelta(days=14)
_A_PATTERN = 3
_MOST_OF_A_KIND = 5
# Causes that a wrong setting on a host brings about, again and again; a stranger's guess is none of them by itself.
_LOOKS_MISCONFIGURED = frozenset(
    {
        "unknown_worker",
        "wrong_strategy",
        "malformed_api_key",
        "wrong_api_key",
        "api_key_revoked",
        "api_key_expired",
        "api_key_not_for_worker",
        "enrollment_disabled",
        "wrong_enrollment_key",
        "proof_expired",
        "assertion_expired",
        "wrong_assertion",
        "name_in_use",
        "superseded",
        "invalid_registration",
    }
)


async def find_concerns(services: Services) -> list[Concern]:
    """Return what needs attention, the most pressing first."""
    groups = await queries.list_refusals(services, limit=200)
    recent = [group for group in groups if services.clock() - group.last_at <= _RECENTLY]
    keys = await queries.list_api_keys(services)
    return [
        *_duplicates(recent),
        *_misconfigured(recent),
        *(Concern(kind=Attention.SETTING, subject="", title=warning) for warning in services.warnings),
        *_expiring(keys, services.clock()),
        *_rotating(services),
    ]


def _duplicates(recent: Sequence[models.RefusalGroup]) -> list[Concern]:
    found = [group for group in recent if group.code == "duplicate_instance"]
    return [
        Concern(
            kind=Attention.DUPLICATE,
            subject=group.last_reference,
            title=f"{group.claimed_worker} was started twice",
            detail=group.last_detail,
        )
        for group in found[:_MOST_OF_A_KIND]
    ]


def _misconfigured(recent: Sequence[models.RefusalGroup]) -> list[Concern]:
    found = [group for group in recent if group.code in _LOOKS_MISCONFIGURED and group.count >= _A_PATTERN]
    return [
        Concern(
            kind=Attention.REFUSED,
            subject=group.last_reference,
            title=f"{group.claimed_worker or 'A Worker'} at {group.address} was refused {group.count:,} times",
            detail=group.meaning,
        )
        for group in found[:_MOST_OF_A_KIND]
    ]


def _expiring(keys: Sequence[models.ApiKey], now: datetime) -> list[Concern]:
    found = [
        (key.expires_at, key)
        for key in keys
        if key.status == "live" and key.expires_at is not None and key.expires_at - now <= _EXPIRES_SOON
    ]
    return [
        Concern(
            kind=Attention.KEY_EXPIRES,
            subject=key.name,
            title=f"API key {key.name} expires on {expires_at:%d %B at %H:%M} UTC",
            detail=f"{len(key.used_by):,} of the Workers connected now use it.",
        )
        for expires_at, key in sorted(found, key=lambda pair: pair[0])[:_MOST_OF_A_KIND]
    ]


def _rotating(services: Services) -> list[Concern]:
    at = services.signing_keys.next_signs_from
    if at is None:
        return []
    return [
        Concern(
            kind=Attention.SIGNING_KEY,
            subject="",
            title=f"A new signing key signs worker tokens from {at:%d %B at %H:%M} UTC",
            detail="It is published already. Whoever checks tokens by a copy of the JWKS should load it anew by then.",
        )
    ]
