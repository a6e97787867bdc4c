"""
Finds what needs an operator's attention, with the facts from which pages offer a remedy.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from lyftdata.core.durations import format_duration
from lyftdata.core.fleet_policy import RefusedAgentRecord
from lyftdata.core.networks import network_of_host
from lyftdata.core.records import ApiKeyRecord, Approval
from lyftdata.core.refusals import cause_of
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.snoozing import ID_LENGTH, SnoozedAlertRecord, alert_digest, is_worse
from lyftdata.core.text import count
from lyftdata.core.times import format_minute
from lyftdata.core.worker_query import parse_worker_query
from lyftdata.server.admin.api_key_queries import ApiKeyQueries
from lyftdata.server.admin.copied_passkeys import CopiedPasskeys
from lyftdata.server.admin.event_alerts import event_alerts
from lyftdata.server.admin.event_destination_queries import EventDestinationQueries
from lyftdata.server.admin.fleet_versions import FleetVersions
from lyftdata.server.admin.refusal_inbox import CaseState, RefusalCase, RefusalInbox
from lyftdata.server.admin.repeated_registrations import RepeatedRegistrations
from lyftdata.server.admin.schemas.status import Alert, AlertKind, Snoozed
from lyftdata.server.admin.second_operator.queries import ChangeRequestQueries
from lyftdata.server.admin.token_origin_queries import TokenOriginQueries
from lyftdata.server.admin.views import key_status
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admission.approval_queue import MAX_PENDING, MAX_PENDING_OF_A_KEY
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import snoozed_alerts
from lyftdata.store.tables.refusals import MAX_GROUPS

_RECENTLY = timedelta(hours=1)
_TOKENS_RECENTLY = timedelta(days=1)
_EXPIRES_SOON = timedelta(days=7)
_OLD_KEY_ENDS_SOON = timedelta(days=3)
_MAX_ROTATIONS = 250
_A_PATTERN = 3
_MAX_OF_A_KIND = 5
_MAX_NAMED = 3
_OF_A_COPY = "copy:"
# Somebody may be attacking the Server or its operators, or keeping others from learning it, or one operator waits for another, who has a day.
_NEVER_SNOOZED = frozenset(
    {
        AlertKind.AUDIT_LOG,
        AlertKind.CHANGE_REQUEST,
        AlertKind.EVENTS_PAUSED,
        AlertKind.PASSKEY_COPIED,
        AlertKind.WORKERS_LOST,
    }
)


def _key_of(case: RefusalCase) -> str:
    """Return the key of an alert about refusals: the cause, since refusals with one cause are shown as one."""
    return case.code if case.worker is not None else f"{case.code}:unknown"


def _worker_id_of(case: RefusalCase) -> str:
    return "" if case.worker is None else case.worker.id


def _duplicates(refused: Sequence[RefusalCase]) -> list[Alert]:
    found = [one for one in refused if one.code == "duplicate_instance"]
    return [
        Alert(
            about=_networks_of(one),
            kind=AlertKind.DUPLICATE,
            subject=one.latest.last_reference,
            title=f"{one.latest.claimed_worker if one.worker is None else one.worker.name} was started twice",
            detail=one.latest.last_detail,
            key=f"start:{one.subject}",
            worker_id=_worker_id_of(one),
        )
        for one in found
    ]


def _networks_of(case: RefusalCase) -> list[str]:
    """Return who is refused and from which networks: from another one it may be someone else."""
    return sorted({f"{case.subject} {network_of_host(group.address)}" for group in case.groups})


def _is_misconfiguration(code: str) -> bool:
    cause = cause_of(code)
    return cause is not None and cause.is_misconfiguration


def _misconfigured(refused: Sequence[RefusalCase]) -> list[Alert]:
    """Return alerts for Workers that are refused repeatedly, and then for unknown callers."""
    repeated = [one for one in refused if _is_misconfiguration(one.code) and one.count >= _A_PATTERN]
    known = [one for one in repeated if one.worker is not None]
    unknown = [one for one in repeated if one.worker is None]
    return [
        *_of_each_cause(known, _known_worker_alert),
        *_of_each_cause(unknown, _unknown_worker_alert),
    ]


def _of_each_cause(
    repeated: Sequence[RefusalCase], describe: Callable[[RefusalCase], Alert]
) -> Iterator[Alert]:
    """Yield an alert for each cause: the remedy is the same for all callers that are refused for it."""
    by_cause: dict[str, list[RefusalCase]] = {}
    for one in repeated:
        by_cause.setdefault(one.code, []).append(one)
    for found in by_cause.values():
        yield describe(found[0]) if len(found) == 1 else _same_cause_alert(found)


def _same_cause_alert(found: Sequence[RefusalCase]) -> Alert:
    latest = max(found, key=lambda one: one.latest.last_at).latest
    names = [one.name for one in found[:_MAX_NAMED]]
    more = f" and {len(found) - _MAX_NAMED:,} more" if len(found) > _MAX_NAMED else ""
    what = latest.code.replace("_", " ").replace("api key", "API key")
    return Alert(
        kind=AlertKind.REFUSED,
        subject=latest.last_reference,
        title=f"{what[:1].upper()}{what[1:]}: {', '.join(names)}{more}",
        detail=f"{latest.meaning} {sum(one.count for one in found):,} times in all.",
        code=latest.code,
        callers=[one.subject for one in found],
        about=[network for one in found for network in _networks_of(one)],
        key=_key_of(found[0]),
    )


def _known_worker_alert(refused: RefusalCase) -> Alert:
    return Alert(
        kind=AlertKind.REFUSED,
        subject=refused.latest.last_reference,
        title=f"{refused.name} at {refused.origin} was refused {refused.count:,} times",
        detail=refused.latest.meaning,
        code=refused.code,
        callers=[refused.subject],
        about=_networks_of(refused),
        key=_key_of(refused),
        worker_id=_worker_id_of(refused),
    )


def _unknown_worker_alert(refused: RefusalCase) -> Alert:
    return Alert(
        kind=AlertKind.REFUSED,
        subject=refused.latest.last_reference,
        title=f"{refused.origin} was refused {refused.count:,} times, as an unknown Worker",
        detail=refused.latest.meaning,
        code=refused.code,
        callers=[refused.subject],
        about=_networks_of(refused),
        key=_key_of(refused),
    )


def _too_old(refused: Sequence[RefusedAgentRecord]) -> list[Alert]:
    """Return one alert for all agents that the fleet policy refuses; those that restart repeatedly are named first."""
    if not refused:
        return []
    more = f" and {len(refused) - _MAX_NAMED:,} more" if len(refused) > _MAX_NAMED else ""
    looping = [one for one in refused if one.starts >= _A_PATTERN or one.entries >= _A_PATTERN]
    loops = [
        f"{one.family} ({one.starts:,} starts{f', {one.entries:,} entries' if one.entries > 1 else ''})"
        for one in looping[:_MAX_NAMED]
    ]
    rest = f" and {len(looping) - _MAX_NAMED:,} more" if len(looping) > _MAX_NAMED else ""
    again = f" Started again and again: {', '.join(loops)}{rest}." if loops else ""
    return [
        Alert(
            kind=AlertKind.AGENT_TOO_OLD,
            subject="",
            key="agent_too_old",
            about=[one.family for one in refused],
            title=f"Agent too old: {', '.join(one.family for one in refused[:_MAX_NAMED])}{more}",
            detail=f"The fleet policy refused them {sum(one.attempts for one in refused):,} times within the hour.{again}",
        )
    ]


def _minute(at: datetime | None) -> str:
    return "" if at is None else format_minute(at)


def _users(number: int) -> str:
    match number:
        case 0:
            return "No Worker that is connected now uses it."
        case 1:
            return "1 Worker that is connected now uses it."
        case _:
            return f"{number:,} Workers that are connected now use it."


def _within_a_day(end: datetime | None, now: datetime) -> list[str]:
    """Return one more when something ends within a day: what was snoozed comes back before it is too late."""
    return ["within a day"] if end is not None and end - now <= timedelta(days=1) else []


def _named(alert: Alert, snoozed: Mapping[str, SnoozedAlertRecord]) -> Alert:
    """Return an alert with its ID, whether it can be snoozed, and whether it is."""
    digest = alert_digest(alert.kind.value, alert.key)
    record = snoozed.get(digest)
    is_snoozed = record is not None and not is_worse(record, alert.about)
    update: dict[str, Any] = {"id": digest[:ID_LENGTH], "can_snooze": _can_snooze(alert)}
    if record is not None and is_snoozed:
        by = record.by.removeprefix("operator:")
        update["snoozed"] = Snoozed(until=record.until, at=record.at, by=by, note=record.note)
    return alert.model_copy(update=update)


def _can_snooze(alert: Alert) -> bool:
    """Return whether an alert can wait: not where somebody attacks the Server or its operators, or one operator waits for another."""
    is_copy = alert.kind is AlertKind.DUPLICATE and alert.key.startswith(_OF_A_COPY)
    return alert.kind not in _NEVER_SNOOZED and not is_copy


def _first_of(
    alerts: Sequence[Alert],
    snoozed: Mapping[str, SnoozedAlertRecord],
    more: Callable[[int], Alert] | None = None,
) -> list[Alert]:
    """Return the first few alerts of a kind that are not snoozed, how many more there are, and those that are snoozed."""
    asleep = [_named(alert, snoozed).snoozed is not None for alert in alerts]
    awake = [alert for alert, is_asleep in zip(alerts, asleep, strict=True) if not is_asleep]
    rest = len(awake) - _MAX_OF_A_KIND
    line = [more(rest)] if more is not None and rest > 0 else []
    kept = [alert for alert, is_asleep in zip(alerts, asleep, strict=True) if is_asleep]
    return [*awake[:_MAX_OF_A_KIND], *line, *kept]


def _more_from_elsewhere(number: int) -> Alert:
    title = f"{number:,} more Workers with tokens asked for from another network"
    return Alert(kind=AlertKind.OTHER_NETWORK, subject="", title=title)


def _more_repeated(number: int) -> Alert:
    title = f"{number:,} more clients that register again and again"
    return Alert(kind=AlertKind.REPEATED_REGISTRATIONS, subject="", title=title)


class Alerts:
    """Finds what needs attention, from the operators' read models."""

    def __init__(
        self,
        *,
        workers: WorkerQueries,
        api_keys: ApiKeyQueries,
        inbox: RefusalInbox,
        fleet_versions: FleetVersions,
        token_origins: TokenOriginQueries,
        repeated_registrations: RepeatedRegistrations,
        directory: Directory,
        change_requests: ChangeRequestQueries,
        copied_passkeys: CopiedPasskeys,
        event_destinations: EventDestinationQueries,
        audit_is_intact: Callable[[], bool],
        signing_keys: SigningKeys,
        store: Store,
        warnings: Sequence[str],
        archive_after: timedelta | None,
        clock: Clock,
    ) -> None:
        self._workers = workers
        self._api_keys = api_keys
        self._inbox = inbox
        self._fleet_versions = fleet_versions
        self._token_origins = token_origins
        self._repeated_registrations = repeated_registrations
        self._directory = directory
        self._change_requests = change_requests
        self._copied_passkeys = copied_passkeys
        self._event_destinations = event_destinations
        self._audit_is_intact = audit_is_intact
        self._signing_keys = signing_keys
        self._store = store
        self._warnings = warnings
        self._archive_after = archive_after
        self._clock = clock

    async def find(self) -> list[Alert]:
        """Return what needs attention, the most urgent first; what is snoozed among it, and marked so."""
        now = self._clock()
        records = await self._store.read(lambda conn: snoozed_alerts.list_snoozed(conn, now=now))
        snoozed = {record.alert: record for record in records}
        return [_named(alert, snoozed) if alert.key else alert for alert in await self._find(snoozed)]

    async def _find(self, snoozed: Mapping[str, SnoozedAlertRecord]) -> list[Alert]:
        # All that are stored: 500 made-up names must not hide a Worker's refusals.
        cases = await self._inbox.cases(limit=MAX_GROUPS, within=_RECENTLY)
        refused = [case for case in cases if case.state is CaseState.OPEN]
        return [
            *self._audit_log(),
            *await self._copies(),
            *await self._copied_passkeys.alerts(),
            *_first_of(_duplicates(refused), snoozed),
            *_first_of(await self._from_elsewhere(), snoozed, _more_from_elsewhere),
            *self._awaiting_approval(),
            *await self._awaiting_second_operator(),
            *_misconfigured(refused),
            *_too_old(await self._fleet_versions.refused()),
            *event_alerts(await self._event_destinations.list_all(), now=self._clock()),
            *(
                Alert(kind=AlertKind.SETTING, subject="", title=warning, key=warning)
                for warning in self._warnings
            ),
            *await self._expiring(),
            *await self._lagging(),
            *await self._inactive(),
            *_first_of(self._repeated(), snoozed, _more_repeated),
            *self._rotating(),
        ]

    def _audit_log(self) -> list[Alert]:
        if self._audit_is_intact():
            return []
        title = "The audit log is not what this Server has written"
        return [
            Alert(
                kind=AlertKind.AUDIT_LOG,
                subject="",
                key="audit_log",
                title=title,
                detail="See: lyftdata audit verify",
            )
        ]

    async def _from_elsewhere(self) -> list[Alert]:
        found = await self._token_origins.from_elsewhere(within=_TOKENS_RECENTLY)
        return [
            Alert(
                kind=AlertKind.OTHER_NETWORK,
                subject=worker.id,
                key=worker.id,
                worker_id=worker.id,
                about=[network_of_host(origin.address)],
                title=f"A token of {worker.name} was asked for from {origin.address}",
                detail=f"The Worker was connected from {origin.session_address}, in another network, at {_minute(origin.elsewhere_at)}.",
            )
            for worker, origin in found
        ]

    def _awaiting_approval(self) -> list[Alert]:
        pending = self._directory.pending()
        total = pending.total()
        if not total:
            return []
        full = total >= MAX_PENDING or max(pending.values()) >= MAX_PENDING_OF_A_KEY
        return [
            Alert(
                kind=AlertKind.APPROVAL,
                subject="",
                key="approval",
                about=[
                    worker.id for worker in self._directory.workers() if worker.approval is Approval.PENDING
                ],
                title=f"{count(total, 'Worker')} {'waits' if total == 1 else 'wait'} for approval",
                detail="No more are added until you have decided about some: if these are not your hosts, revoke the enrollment key."
                if full
                else "",
            )
        ]

    async def _awaiting_second_operator(self) -> list[Alert]:
        found = await self._change_requests.pending()
        alerts = [
            Alert(
                kind=AlertKind.CHANGE_REQUEST,
                subject=record.id,
                key=record.id,
                title=f"{record.operator} asks for a second operator until {record.expires_at:%d %B at %H:%M} UTC",
                detail=record.asked.statement,
            )
            for record in found[:_MAX_OF_A_KIND]
        ]
        if len(found) > _MAX_OF_A_KIND:
            title = f"{count(len(found) - _MAX_OF_A_KIND, 'more request')} for a second operator"
            alerts.append(Alert(kind=AlertKind.CHANGE_REQUEST, subject="", title=title))
        return alerts

    async def _copies(self) -> list[Alert]:
        """Report copies that ask again and again; one that has not asked for an hour is only on its Worker's page."""
        now = self._clock()
        found = await self._workers.undecided_copies(limit=_MAX_OF_A_KIND)
        workers = {copy.worker_id: self._directory.find_worker(copy.worker_id) for copy in found}
        return [
            Alert(
                kind=AlertKind.DUPLICATE,
                subject=copy.reference,
                # Not the reference: a copy that does not send it gets a different one for each request, and each would be an event.
                key=f"{_OF_A_COPY}{copy.worker_id}",
                worker_id=worker.id,
                title=f"The identity of {worker.name} is used from a second directory",
                detail=f"Accepted: {copy.other_host or '?'} ({copy.other_address}). Refused: {copy.host or '?'} ({copy.address}).",
            )
            for copy in found
            if now - copy.last_at <= _RECENTLY and (worker := workers[copy.worker_id]) is not None
        ]

    async def _expiring(self) -> list[Alert]:
        now = self._clock()

        def ends_soon(record: ApiKeyRecord) -> bool:
            return (
                record.expires_at is not None
                and key_status(record, now) == "live"
                and record.expires_at - now <= _EXPIRES_SOON
            )

        # The newest generation counts: an older one that ends after a rotation is not a problem.
        newest = [
            max(group, key=lambda record: record.generation)
            for group in self._api_keys.find(ends_soon, scope=UNLIMITED)
        ]
        ending = sorted((r for r in newest if ends_soon(r)), key=lambda record: str(record.expires_at))
        keys = await self._api_keys.show([[record] for record in ending[:_MAX_OF_A_KIND]], scope=UNLIMITED)
        return [
            Alert(
                kind=AlertKind.KEY_EXPIRES,
                subject=key.name,
                key=f"{key.name}:{key.expires_at:%Y-%m-%dT%H:%M}",
                about=_within_a_day(key.expires_at, now),
                title=f"API key {key.name} expires at {_minute(key.expires_at)}",
                detail=_users(len(key.used_by)),
            )
            for key in keys
        ]

    async def _lagging(self) -> list[Alert]:
        now = self._clock()
        latest = now + _OLD_KEY_ENDS_SOON

        def ends_soon(record: ApiKeyRecord) -> bool:
            return record.rotated_at is not None and now < (record.expires_at or now) <= latest

        keys = await self._api_keys.show(
            self._api_keys.find(ends_soon, scope=UNLIMITED)[:_MAX_ROTATIONS], scope=UNLIMITED
        )
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
                title=f"Generation {old.generation} of API key {name} ends at {_minute(ends_at)}",
                detail=f"{count(len(old.workers), 'Worker')} still {'uses' if len(old.workers) == 1 else 'use'} it.",
            )
            for ends_at, name, old in sorted(ending, key=lambda one: one[:2])[:_MAX_OF_A_KIND]
        ]

    async def _inactive(self) -> list[Alert]:
        """Report Workers that an operator added and that may be gone: they are never archived, and their keys still work."""
        if self._archive_after is None:
            return []
        wanted = parse_worker_query(f"strategy:api_key inactive:>{format_duration(self._archive_after)}")
        found = [worker for worker in await self._workers.find(wanted, scope=UNLIMITED) if worker.enabled]
        if not found:
            return []
        span = format_duration(self._archive_after)
        have = "has" if len(found) == 1 else "have"
        return [
            Alert(
                kind=AlertKind.INACTIVE,
                subject=span,
                key=span,
                about=[worker.id for worker in found],
                title=f"{count(len(found), 'Worker')} with an API key {have} not been active for {span}",
                detail="If they are gone, delete them: their API keys still work.",
            )
        ]

    def _repeated(self) -> list[Alert]:
        """Report clients that register again at each start."""
        return [
            Alert(
                kind=AlertKind.REPEATED_REGISTRATIONS,
                subject=group.name,
                key=f"{group.name}:{group.address}",
                title=f"A client at {group.address} registers again and again as {group.name}",
                detail=f"{count(len(group.replaced), 'registration')} that it has replaced by later ones. Let it keep its key between starts, or "
                "give it an enrollment key for ephemeral Workers.",
            )
            for group in self._repeated_registrations.groups()
        ]

    def _rotating(self) -> list[Alert]:
        at = self._signing_keys.next_signs_from
        if at is None:
            return []
        return [
            Alert(
                kind=AlertKind.SIGNING_KEY,
                subject="",
                key=f"{at:%Y-%m-%dT%H:%M}",
                title=f"A new signing key signs worker tokens from {format_minute(at)}",
                detail="It is published already. Services that check tokens by a copy of the JWKS should reload it by then.",
            )
        ]
