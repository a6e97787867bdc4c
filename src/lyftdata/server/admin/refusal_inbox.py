"""
Refusals as cases for operators: which Worker or caller is refused, why, and whether the case is open, ignored or solved.

A case is solved once its Worker is admitted after the last refusal. It is ignored until a time set by an operator, and then
open again if it continues. If the same Worker is refused from a network that was not in the case when it was ignored, that is a
separate open case: someone else may claim to be that Worker.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.networks import network_of_host
from lyftdata.core.records import IgnoredRefusalRecord, WorkerRecord
from lyftdata.core.refusals import cause_of
from lyftdata.core.text import clean_text
from lyftdata.server.admin.put_off import put_off
from lyftdata.server.admin.refusal_queries import RefusalQueries
from lyftdata.server.admin.schemas.refusals import RefusalGroup
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import ignored_refusals
from lyftdata.store.tables.refusals import MAX_GROUPS

MAX_IGNORED_FOR = timedelta(days=90)
MAX_SUBJECTS = 200
_MAX_SUBJECT = 128


class CaseState(StrEnum):
    """The state of a case."""

    OPEN = "open"
    IGNORED = "ignored"
    SOLVED = "solved"


class RefusalCase(msgspec.Struct, frozen=True, kw_only=True):
    """Refusals with one cause: of an existing Worker, from any address, or of unknown callers at one address."""

    code: str
    worker: WorkerRecord | None
    groups: Sequence[RefusalGroup]
    state: CaseState = CaseState.OPEN
    ignored: IgnoredRefusalRecord | None = None

    @property
    def latest(self) -> RefusalGroup:
        """Return the group with the latest refusal."""
        return max(self.groups, key=lambda group: group.last_at)

    @property
    def count(self) -> int:
        """Return the number of refusals."""
        return sum(group.count for group in self.groups)

    @property
    def subject(self) -> str:
        """Return the subject of the case, as decisions name it: `worker:ID` or `address:ADDRESS`."""
        return f"address:{self.latest.address}" if self.worker is None else f"worker:{self.worker.id}"

    @property
    def name(self) -> str:
        """Return a safe display name: a name that a caller claims is not repeated."""
        return self.latest.address if self.worker is None else self.worker.name

    @property
    def claimed(self) -> list[str]:
        """Return the names that the callers claimed, the latest first: untrusted text."""
        latest = sorted(self.groups, key=lambda group: group.last_at, reverse=True)
        return list(dict.fromkeys(group.claimed_worker for group in latest if group.claimed_worker))

    @property
    def origin(self) -> str:
        """Return where the requests came from."""
        addresses = {group.address for group in self.groups}
        return self.latest.address if len(addresses) == 1 else f"{len(addresses):,} addresses"


class RefusalInbox:
    """
    The cases, and operators' decisions to ignore some for a time.

    Args:
        workers: The Workers of cases and alerts.
        refusals: The refused attempts.
        directory: Every Worker.
        known_secrets: What a decision must not contain.
        store: Stores the decisions.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        workers: WorkerQueries,
        refusals: RefusalQueries,
        directory: Directory,
        known_secrets: KnownSecrets,
        store: Store,
        clock: Clock,
    ) -> None:
        self._workers = workers
        self._refusals = refusals
        self._directory = directory
        self._known_secrets = known_secrets
        self._store = store
        self._clock = clock

    async def cases(
        self, *, code: str | None = None, q: str | None = None, within: timedelta | None = None
    ) -> list[RefusalCase]:
        """
        Return the cases, the one with the latest refusal first.

        All groups that are kept are read: in an outage one cause has many callers, and must not displace the cases of other causes.

        Args:
            code: Only this cause.
            q: Part of a claimed Worker or an address.
            within: Only refusals within this time.
        """
        groups = await self._refusals.list_groups(limit=MAX_GROUPS, code=code, q=q)
        now = self._clock()
        recent = [group for group in groups if within is None or now - group.last_at <= within]
        return await self._with_states(self._group_by_worker_and_cause(recent))

    async def ignore(
        self, code: str, subjects: Sequence[str], *, for_: timedelta, note: str, actor: Actor
    ) -> None:
        """
        Ignore cases for a time: in their present extent, they are neither open nor alerts until then.

        Args:
            code: Their cause.
            subjects: Their subjects: `worker:ID` or `address:ADDRESS`.
            for_: For how long, at most 90 days.
            note: Why, for other operators.
            actor: Who decides.

        Raises:
            InvalidInputError: No such cause, no subject, a time or note that is too long, or a credential in the input.
        """
        wanted = _checked(code, subjects)
        self._known_secrets.check_credentials("subjects", *wanted)
        now = self._clock()
        decision = put_off(
            for_, note, at_most=MAX_IGNORED_FOR, actor=actor, now=now, known_secrets=self._known_secrets
        )

        def op(tx: WriteTx) -> None:
            ignored_refusals.remove_ended(tx, now=now)
            for subject in wanted:
                record = IgnoredRefusalRecord(
                    code=code,
                    subject=subject,
                    until=decision.until,
                    at=now,
                    by=decision.by,
                    note=decision.note,
                )
                ignored_refusals.ignore(tx, record)
                details = {"cause": code} | decision.details
                tx.audit(actor.audit_event("refusal.ignored", subject, at=now, details=details))

        await self._store.write(op)

    async def reopen(self, code: str, subjects: Sequence[str], *, actor: Actor) -> int:
        """Stop ignoring cases; return how many were ignored."""
        wanted, now = _checked(code, subjects), self._clock()

        def op(tx: WriteTx) -> int:
            reopened = [
                subject
                for subject in wanted
                if ignored_refusals.stop_ignoring(tx, code=code, subject=subject)
            ]
            for subject in reopened:
                tx.audit(actor.audit_event("refusal.reopened", subject, at=now, details={"cause": code}))
            return len(reopened)

        return await self._store.write(op)

    def _group_by_worker_and_cause(self, recent: Sequence[RefusalGroup]) -> list[RefusalCase]:
        """
        Group refusals by Worker and cause; for unknown callers, by address and cause.

        A Worker is identified by its ID or, when it enrolls, by its name. Anyone can claim to be a Worker that does not exist: such a name
        is not repeated in alerts, and all names made up at one address are one case.
        """
        by_name = self._by_unique_name()
        joined: dict[tuple[str, str, str], list[RefusalGroup]] = {}
        workers: dict[str, WorkerRecord] = {}
        for group in recent:
            worker = self._directory.find_worker(group.claimed_worker) or by_name.get(group.claimed_worker)
            if worker is not None:
                workers[worker.id] = worker
            whose = ("", group.address) if worker is None else (worker.id, "")
            joined.setdefault((group.code, *whose), []).append(group)
        return [
            RefusalCase(code=code, worker=workers.get(worker_id), groups=groups)
            for (code, worker_id, _), groups in joined.items()
        ]

    def _by_unique_name(self) -> dict[str, WorkerRecord]:
        found: dict[str, WorkerRecord] = {}
        twice: set[str] = set()
        for worker in self._directory.workers():
            if worker.superseded_by is None:
                if worker.name in found:
                    twice.add(worker.name)
                found[worker.name] = worker
        return {name: worker for name, worker in found.items() if name not in twice}

    async def _with_states(self, cases: Sequence[RefusalCase]) -> list[RefusalCase]:
        now = self._clock()
        let_in = await self._workers.last_admitted({c.worker.id for c in cases if c.worker is not None})
        records = await self._store.read(lambda conn: ignored_refusals.list_ignored(conn, now=now))
        ignored = {(record.code, record.subject): record for record in records}

        def with_states(case: RefusalCase) -> Iterable[RefusalCase]:
            admitted_at = None if case.worker is None else let_in.get(case.worker.id)
            record = ignored.get((case.code, case.subject))
            if admitted_at is not None and admitted_at >= case.latest.last_at:
                return [msgspec.structs.replace(case, state=CaseState.SOLVED)]
            return [case] if record is None else _split(case, record)

        return [part for case in cases for part in with_states(case)]


def _split(case: RefusalCase, record: IgnoredRefusalRecord) -> list[RefusalCase]:
    """
    Split a case into the part that a decision ignores, and the rest: refusals from other networks since then.

    Hiding: a guesser at another host must not benefit from a decision about the Worker that it claims to be.
    """
    if case.worker is None:
        # The case is about one address.
        return [msgspec.structs.replace(case, state=CaseState.IGNORED, ignored=record)]
    known = _networks_before(case.groups, record.at)
    ignored = [group for group in case.groups if network_of_host(group.address) in known]
    others = [group for group in case.groups if network_of_host(group.address) not in known]
    parts = [
        msgspec.structs.replace(case, groups=ignored, state=CaseState.IGNORED, ignored=record),
        msgspec.structs.replace(case, groups=others),
    ]
    return [part for part in parts if part.groups]


def _networks_before(groups: Sequence[RefusalGroup], at: datetime) -> set[str]:
    return {network_of_host(group.address) for group in groups if group.first_at <= at}


def _checked(code: str, subjects: Sequence[str]) -> list[str]:
    if cause_of(code) is None:
        raise InvalidInputError("code", "must be a cause of refusal")
    wanted = list(dict.fromkeys(subjects))
    if not wanted or len(wanted) > MAX_SUBJECTS:
        raise InvalidInputError("subjects", f"must be 1 to {MAX_SUBJECTS}")
    for subject in wanted:
        kind, _, value = subject.partition(":")
        if kind not in {"worker", "address"} or not value or len(subject) > _MAX_SUBJECT:
            raise InvalidInputError("subjects", "must be like worker:press-01 or address:192.0.2.1")
        if clean_text(subject, _MAX_SUBJECT) != subject:
            raise InvalidInputError("subjects", "must not hold control characters")
    return wanted
