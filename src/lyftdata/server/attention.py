"""
What needs an operator's attention, each with what it is about: the pages turn that into the action that mends it.
"""

from collections.abc import Sequence
from datetime import timedelta

from lyftdata.core.records import ApiKeyRecord
from lyftdata.server import queries
from lyftdata.server.models.refusals import RefusalGroup
from lyftdata.server.models.status import Attention, Concern
from lyftdata.server.services import Services
from lyftdata.server.views import key_status

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
        "api_key_rotated",
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
    groups = await queries.list_refusals(services, limit=500)
    recent = [group for group in groups if services.clock() - group.last_at <= _RECENTLY]
    return [
        *_duplicates(recent),
        *_misconfigured(services, recent),
        *(Concern(kind=Attention.SETTING, subject="", title=warning) for warning in services.warnings),
        *await _expiring(services),
        *_rotating(services),
    ]


def _duplicates(recent: Sequence[RefusalGroup]) -> list[Concern]:
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


def _misconfigured(services: Services, recent: Sequence[RefusalGroup]) -> list[Concern]:
    """
    Tell of Workers that are refused again and again: those that there are, each; others as one for an address.

    Anybody can claim to be a Worker that there is not. What they call themselves is not repeated here, and however
    many they make up, they take no place from those that an operator knows.
    """
    repeated = [group for group in recent if group.code in _LOOKS_MISCONFIGURED and group.count >= _A_PATTERN]
    known = [g for g in repeated if services.directory.find_worker(g.claimed_worker) is not None]
    strangers: dict[str, list[RefusalGroup]] = {}
    for group in repeated:
        if services.directory.find_worker(group.claimed_worker) is None:
            strangers.setdefault(group.address, []).append(group)
    return [
        *(_known(group) for group in known[:_MOST_OF_A_KIND]),
        *_more(len(known)),
        *(_strangers(address, theirs) for address, theirs in list(strangers.items())[:_MOST_OF_A_KIND]),
        *_more(len(strangers), "addresses"),
    ]


def _known(group: RefusalGroup) -> Concern:
    return Concern(
        kind=Attention.REFUSED,
        subject=group.last_reference,
        title=f"{group.claimed_worker} at {group.address} was refused {group.count:,} times",
        detail=group.meaning,
    )


def _strangers(address: str, groups: Sequence[RefusalGroup]) -> Concern:
    causes = sorted({group.code.replace("_", " ") for group in groups})
    return Concern(
        kind=Attention.REFUSED,
        subject=groups[0].last_reference,
        title=f"{address} was refused {sum(group.count for group in groups):,} times, as no Worker that there is",
        detail=f"Causes: {', '.join(causes)}.",
    )


def _more(found: int, of: str = "Workers") -> list[Concern]:
    if found <= _MOST_OF_A_KIND:
        return []
    title = f"{found - _MOST_OF_A_KIND:,} more {of} are refused again and again"
    return [Concern(kind=Attention.REFUSED, subject="", title=title)]


async def _expiring(services: Services) -> list[Concern]:
    now = services.clock()

    def ends_soon(record: ApiKeyRecord) -> bool:
        return (
            record.expires_at is not None
            and key_status(record, now) == "live"
            and record.expires_at - now <= _EXPIRES_SOON
        )

    # The generation that counts: an older one that ends after a rotation is no concern.
    newest = [
        max(group, key=lambda record: record.generation)
        for group in queries.find_api_keys(services, ends_soon)
    ]
    ending = sorted((r for r in newest if ends_soon(r)), key=lambda record: str(record.expires_at))
    keys = await queries.view_api_keys(services, [[record] for record in ending[:_MOST_OF_A_KIND]])
    return [
        Concern(
            kind=Attention.KEY_EXPIRES,
            subject=key.name,
            title=f"API key {key.name} expires on {key.expires_at:%d %B at %H:%M} UTC",
            detail=f"{len(key.used_by):,} of the Workers connected now use it.",
        )
        for key in keys
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
