"""Finds keys that end soon: API keys that expire, generations that a rotation ends, and the signing key that is replaced."""

from datetime import datetime, timedelta

from lyftdata.core.records import ApiKeyRecord
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.text import count
from lyftdata.core.times import format_minute
from lyftdata.server.admin.api_key_queries import ApiKeyQueries
from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.server.admin.views import key_status

_EXPIRES_SOON = timedelta(days=7)
_OLD_KEY_ENDS_SOON = timedelta(days=3)
_MAX_READ = 250


async def expiring_keys(api_keys: ApiKeyQueries, now: datetime) -> list[Alert]:
    """Return an alert for each API key that expires within a week, the first to expire first."""

    def ends_soon(record: ApiKeyRecord) -> bool:
        return (
            record.expires_at is not None
            and key_status(record, now) == "live"
            and record.expires_at - now <= _EXPIRES_SOON
        )

    # The newest generation counts: an older one that ends after a rotation is not a problem.
    newest = [
        max(group, key=lambda record: record.generation)
        for group in api_keys.find(ends_soon, scope=UNLIMITED)
    ]
    ending = sorted((r for r in newest if ends_soon(r)), key=lambda record: str(record.expires_at))
    keys = await api_keys.show([[record] for record in ending[:_MAX_READ]], scope=UNLIMITED)
    return [
        Alert(
            kind=AlertKind.KEY_EXPIRES,
            subject=key.name,
            key=f"{key.name}:{key.expires_at:%Y-%m-%dT%H:%M}",
            about=_within_a_day(key.expires_at, now),
            title=f"API key {key.name} expires at {format_minute(key.expires_at)}",
            detail=_users(len(key.used_by)),
        )
        for key in keys
    ]


async def lagging_workers(api_keys: ApiKeyQueries, now: datetime) -> list[Alert]:
    """Return an alert for each generation that ends within three days and is still in use, the first to end first."""
    latest = now + _OLD_KEY_ENDS_SOON

    def ends_soon(record: ApiKeyRecord) -> bool:
        return record.rotated_at is not None and now < (record.expires_at or now) <= latest

    keys = await api_keys.show(api_keys.find(ends_soon, scope=UNLIMITED)[:_MAX_READ], scope=UNLIMITED)
    ending = [
        (old.expires_at, key.name, old)
        for key in keys
        for old in key.previous
        if old.workers and old.expires_at is not None and old.expires_at <= latest
    ]
    return [
        Alert(
            kind=AlertKind.KEY_ROTATION,
            subject=name,
            key=f"{name}:{old.generation}",
            about=[*_within_a_day(ends_at, now), *(worker.id for worker in old.workers)],
            title=f"Generation {old.generation} of API key {name} ends at {format_minute(ends_at)}",
            detail=f"{count(len(old.workers), 'Worker')} still {'uses' if len(old.workers) == 1 else 'use'} it.",
        )
        for ends_at, name, old in sorted(ending, key=lambda one: one[:2])
    ]


def signing_key_rotation(next_signs_from: datetime | None) -> list[Alert]:
    """Return an alert while the next signing key is published and does not sign yet."""
    if next_signs_from is None:
        return []
    return [
        Alert(
            kind=AlertKind.SIGNING_KEY,
            subject="",
            key=f"{next_signs_from:%Y-%m-%dT%H:%M}",
            title=f"A new signing key signs worker tokens from {format_minute(next_signs_from)}",
            detail="It is published already. Services that check tokens by a copy of the JWKS should reload it by then.",
        )
    ]


def _within_a_day(end: datetime | None, now: datetime) -> list[str]:
    """Return one more when something ends within a day: what was snoozed comes back before it is too late."""
    return ["within a day"] if end is not None and end - now <= timedelta(days=1) else []


def _users(number: int) -> str:
    match number:
        case 0:
            return "No Worker that is connected now uses it."
        case 1:
            return "1 Worker that is connected now uses it."
        case _:
            return f"{number:,} Workers that are connected now use it."
