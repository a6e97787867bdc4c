"""
Rehearses changed rules of an enrollment key: replays recorded attempts, and shows operators which would be refused.

Nothing is recorded for this purpose. Enrollments are events of the audit log, and refusals by a key's rules are in the refusal log.
Both are limited: by the retention of the audit log, and by the number of refusals that are kept.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from lyftdata.core.enrollment_rehearsal import (
    Attempt,
    Generation,
    Outcome,
    Replayed,
    Rules,
    key_life,
    replay,
    rotation_end,
)
from lyftdata.core.enrollment_rules import STARTUP_NAME, parse_name_pattern, parse_networks
from lyftdata.core.errors import InvalidInputError, NotFoundError
from lyftdata.core.key_generations import check_life, newest_generation
from lyftdata.core.records import AuditEvent, EnrollmentKeyRecord, EnrollmentMode, RefusalAttempt
from lyftdata.server.admin.enrollment_keys import check_mode, check_uses
from lyftdata.server.admin.schemas.enrollment_rehearsals import (
    MAX_DAYS,
    EnrollmentRehearsal,
    RehearsedAttempts,
    RehearsedRules,
)
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.clock import Clock
from lyftdata.store import Store, audit_log
from lyftdata.store.tables import enrollment_keys, refusals

# Of each kind: they are read into memory for one operator's query.
_MAX_READ = 20_000
_MAX_LISTED = 1_000

T = TypeVar("T")


class ChangedRules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules an operator is considering, as in `EnrollmentKeyRules`; UNSET leaves a rule unchanged."""

    expires_in: timedelta | UnsetType | None = UNSET
    max_uses: int | UnsetType | None = UNSET
    worker_name: str | UnsetType | None = UNSET
    networks: Sequence[str] | UnsetType = UNSET
    mode: EnrollmentMode | UnsetType = UNSET
    approve_name: str | UnsetType | None = UNSET
    approve_networks: Sequence[str] | UnsetType = UNSET


class _Recorded(NamedTuple):
    """The recorded attempts with a key, the oldest first, and the time since which the record is complete."""

    attempts: list[Attempt]
    generations: dict[str, Generation]
    complete_since: datetime


class EnrollmentRehearsals:
    """Replays the recorded attempts with an enrollment key against changed rules."""

    def __init__(self, *, enrollment: Enrollment, refusals: RefusalLog, store: Store, clock: Clock) -> None:
        self._enrollment = enrollment
        self._refusals = refusals
        self._store = store
        self._clock = clock
        # Denial of service: a rehearsal uses memory and a processor for as long as it runs.
        self._one_at_a_time = asyncio.Semaphore(1)

    async def rehearse(self, name: str, changed: ChangedRules, *, days: int) -> EnrollmentRehearsal:
        """
        Return which attempts would be refused.

        Args:
            name: Of the key; `startup` is the one of the settings.
            changed: The rules to change.
            days: How many days back attempts are replayed.

        Raises:
            NotFoundError: No such key.
            InvalidInputError: One of the rules is invalid.
        """
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInputError("days", f"must be from 1 to {MAX_DAYS}")
        since = self._clock() - timedelta(days=days)
        records = await self._generations(name, since)
        rules = _apply(changed, records)
        fingerprints = self._startup_fingerprints() if name == STARTUP_NAME else None
        async with self._one_at_a_time:
            # Before the store is read: what is written in between appears in both, and is counted once.
            unwritten = self._refusals.unwritten()
            recorded = await self._store.read(
                lambda conn: _read(conn, records, since=since, fingerprints=fingerprints, unwritten=unwritten)
            )
            # In a thread: Workers' requests are answered while tens of thousands of attempts are replayed.
            return await asyncio.to_thread(_replay, name, since, recorded, rules)

    async def _generations(self, name: str, since: datetime) -> list[EnrollmentKeyRecord]:
        if name != STARTUP_NAME:
            found = await self._store.read(lambda conn: enrollment_keys.find_by_name(conn, name))
            newest_generation(found, kind="enrollment_key", name=name)
            return found
        if not self._startup_fingerprints():
            raise NotFoundError("enrollment_key", name)
        # The key of the settings has no rules, and it is not known when it was set.
        return [
            EnrollmentKeyRecord(
                public_id="", name=name, public_key="", digest=b"", created_at=since, created_by=""
            )
        ]

    def _startup_fingerprints(self) -> list[str]:
        return [accepted.fingerprint for accepted in self._enrollment.keys]


def _apply(changed: ChangedRules, records: Sequence[EnrollmentKeyRecord]) -> Rules:
    """Return the rules of the newest generation with the changes applied; raises InvalidInputError."""
    newest = max(records, key=lambda record: record.generation)
    # For a key that only warns, the question is which Workers it would refuse.
    usual_mode = EnrollmentMode.AUTO if newest.mode is EnrollmentMode.WARN else newest.mode
    mode = _chosen(changed.mode, usual_mode)
    keeps_approval = mode is EnrollmentMode.APPROVE
    key = msgspec.structs.replace(
        newest,
        max_uses=_chosen(changed.max_uses, newest.max_uses),
        worker_name=_pattern(_chosen(changed.worker_name, newest.worker_name), "worker_name"),
        networks=parse_networks(_chosen(changed.networks, newest.networks)),
        mode=mode,
        approve_name=_pattern(
            _chosen(changed.approve_name, newest.approve_name if keeps_approval else None), "approve_name"
        ),
        approve_networks=parse_networks(
            _chosen(changed.approve_networks, newest.approve_networks if keeps_approval else []),
            field="approve_networks",
        ),
    )
    check_uses(key.max_uses)
    check_mode(key.mode, key.approve_name, key.approve_networks)
    expires_in = _chosen(changed.expires_in, key_life(records))
    check_life(expires_in)
    return Rules(key=key, expires_in=expires_in)


def _chosen(changed: T | UnsetType, now: T) -> T:
    return now if isinstance(changed, UnsetType) else changed


def _pattern(text: str | None, field: str) -> str | None:
    return None if text is None else parse_name_pattern(text, field=field)


def _read(
    conn: Connection,
    records: Sequence[EnrollmentKeyRecord],
    *,
    since: datetime,
    fingerprints: Sequence[str] | None,
    unwritten: Sequence[RefusalAttempt],
) -> _Recorded:
    """Read the attempts with a key; `fingerprints` are those of the settings' key, whose generations are not recorded."""
    known = [record.fingerprint for record in records] if fingerprints is None else fingerprints
    enrolled = audit_log.enrollments_with(conn, known, since=since, limit=_MAX_READ)
    refused = refusals.list_by_enrollment_key(conn, known, since=since, limit=_MAX_READ)
    by_reference = {
        one.reference: one
        for one in (*unwritten, *refused)
        if one.enrollment_key in known and one.at >= since
    }
    attempts = [_admitted(event) for event in reversed(enrolled)] + [
        _refused(one) for one in by_reference.values()
    ]
    generations = (
        _read_generations(conn, records, enrolled)
        if fingerprints is None
        else {fingerprint: Generation(begins_at=since) for fingerprint in known}
    )
    return _Recorded(
        sorted(attempts, key=lambda attempt: attempt.at),
        generations,
        _complete_since(conn, since, enrolled, refused),
    )


def _complete_since(
    conn: Connection, since: datetime, enrolled: Sequence[AuditEvent], refused: Sequence[RefusalAttempt]
) -> datetime:
    """Return the time since which no recorded attempt is missing: older ones were not kept, or not read."""
    first_event = audit_log.first_time(conn) if audit_log.removed_through(conn) else None
    limits = [since, first_event, refusals.kept_since(conn)]
    limits += [found[-1].at for found in (enrolled, refused) if len(found) == _MAX_READ]
    return max(limit for limit in limits if limit is not None)


def _read_generations(
    conn: Connection, records: Sequence[EnrollmentKeyRecord], enrolled: Sequence[AuditEvent]
) -> dict[str, Generation]:
    uses, life = enrollment_keys.count_uses(conn), key_life(records)
    replayed = [event.details["enrolled_with"] for event in enrolled]
    return {
        record.fingerprint: Generation(
            begins_at=record.created_at,
            uses_before=max(0, uses[record.public_id].uses - replayed.count(record.fingerprint)),
            ended_at=rotation_end(record, life=life),
        )
        for record in records
    }


def _admitted(event: AuditEvent) -> Attempt:
    details = event.details
    codes = tuple(code for code in details.get("would_refuse", "").split(",") if code)
    waited = details.get("approval") == "pending"
    let_in = Outcome.WARNED if codes else Outcome.ADMITTED
    return Attempt(
        at=event.at,
        fingerprint=details["enrolled_with"],
        worker_name=details.get("name", ""),
        address=event.address,
        outcome=Outcome.PENDING if waited else let_in,
        codes=codes,
        worker_id=event.subject.removeprefix("worker:"),
    )


def _refused(one: RefusalAttempt) -> Attempt:
    return Attempt(
        at=one.at,
        fingerprint=one.enrollment_key,
        worker_name=one.claimed_worker,
        address=one.address,
        outcome=Outcome.REFUSED,
        codes=(one.code,),
        reference=one.reference,
    )


def _replay(name: str, since: datetime, recorded: _Recorded, rules: Rules) -> EnrollmentRehearsal:
    return _show(name, since, recorded, rules, replay(recorded.attempts, recorded.generations, rules))


def _show(
    name: str, since: datetime, recorded: _Recorded, rules: Rules, replayed: Sequence[Replayed]
) -> EnrollmentRehearsal:
    outcomes = [one.outcome for one in replayed]
    groups = _group([one for one in replayed if _is_listed(one)])
    return EnrollmentRehearsal(
        key=name,
        since=since,
        complete_since=recorded.complete_since,
        rules=_show_rules(rules),
        attempts=len(replayed),
        admitted=outcomes.count(Outcome.ADMITTED) + outcomes.count(Outcome.WARNED),
        pending=outcomes.count(Outcome.PENDING),
        refused=outcomes.count(Outcome.REFUSED),
        newly_refused=sum(one.is_newly_refused for one in replayed),
        newly_let_in=sum(one.is_newly_let_in for one in replayed),
        items=groups[:_MAX_LISTED],
        left_out=max(0, len(groups) - _MAX_LISTED),
    )


def _is_listed(one: Replayed) -> bool:
    return one.outcome is Outcome.REFUSED or one.outcome is not one.attempt.outcome


def _group(replayed: Sequence[Replayed]) -> list[RehearsedAttempts]:
    """Return the groups to list: newly refused ones first, then newly admitted ones, each with the latest first."""
    groups: dict[tuple[object, ...], list[Replayed]] = {}
    for one in replayed:
        attempt = one.attempt
        key = (attempt.worker_name, attempt.address, attempt.outcome, attempt.codes, one.outcome, one.codes)
        groups.setdefault(key, []).append(one)
    ordered = sorted(groups.values(), key=lambda group: group[-1].attempt.at, reverse=True)
    ordered.sort(key=lambda group: (not group[-1].is_newly_refused, not group[-1].is_newly_let_in))
    return [_show_group(group) for group in ordered]


def _show_group(group: Sequence[Replayed]) -> RehearsedAttempts:
    first, last = group[0].attempt, group[-1].attempt
    return RehearsedAttempts(
        worker_name=last.worker_name,
        address=last.address,
        attempts=len(group),
        first_at=first.at,
        last_at=last.at,
        recorded=last.outcome,
        recorded_codes=list(last.codes),
        outcome=group[-1].outcome,
        codes=list(group[-1].codes),
        worker_id=last.worker_id or None,
        reference=last.reference or None,
    )


def _show_rules(rules: Rules) -> RehearsedRules:
    key = rules.key
    return RehearsedRules(
        expires_in_s=None if rules.expires_in is None else int(rules.expires_in.total_seconds()),
        max_uses=key.max_uses,
        worker_name=key.worker_name,
        networks=key.networks,
        mode=key.mode,
        approve_name=key.approve_name,
        approve_networks=key.approve_networks,
    )
