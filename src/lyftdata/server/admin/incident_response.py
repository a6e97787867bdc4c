"""Cuts off the Workers of an incident (all, some or none) and revokes the key, in one transaction with one audit event."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import CutOff
from lyftdata.core.disabling import MAX_NOTE
from lyftdata.core.epochs import next_epoch
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.incidents import CUT_OFF, SubjectKind, parse_since
from lyftdata.core.records import Strategy, WorkerRecord
from lyftdata.core.text import clean_text
from lyftdata.server.admin.incident_evidence import IncidentEvidence
from lyftdata.server.admin.incident_subjects import FoundSubject, IncidentSubjects
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.worker_changes import without_later
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import api_keys, enrollment_keys, workers

Action = Literal["disable", "delete"]

_MAX_NAMED = 5


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """
    An operator's decision about an incident.

    Attributes:
        subject: Parsed by `core.incidents.parse_subject`.
        since: Parsed by `core.incidents.parse_since`.
        worker_ids: Which Workers to cut off; None for every Worker of the incident.
        action: `disable`, or `delete`: then a host can only come back as a new Worker.
        revoke_key: Whether to revoke the key that the incident is about.
        takes_new: For a confirmed request: all Workers were meant, so that those enrolled since are cut off too.
    """

    subject: str
    since: str = ""
    worker_ids: Sequence[str] | None = None
    action: Action = "disable"
    revoke_key: bool
    takes_new: bool = False


class IncidentResponse:
    """Performs cut-offs."""

    def __init__(
        self,
        *,
        subjects: IncidentSubjects,
        evidence: IncidentEvidence,
        sessions: Sessions,
        gate: SecondOperatorGate,
        store: Store,
        clock: Clock,
    ) -> None:
        self._subjects = subjects
        self._evidence = evidence
        self._sessions = sessions
        self._gate = gate
        self._store = store
        self._clock = clock

    async def cut_off(self, wanted: Wanted, *, actor: Actor) -> int:
        """
        Cut off Workers and revoke the key, all or nothing.

        Returns:
            The number of the audit event, with which `IncidentQueries.progress` returns the progress.

        Raises:
            InvalidInputError, NotFoundError: As for the report; also if one of the chosen Workers does not exist.
            ConflictError: `incident_subject_ambiguous`; `key_cannot_be_revoked`: the subject is not an issued key.
            SecondOperatorRequiredError: A second operator must confirm it.
        """
        now = self._clock()
        since = parse_since(wanted.since, now=now)
        found = self._subjects.find(wanted.subject, now=now)
        _check_revocable(found, wanted)
        evidence = await self._evidence.collect(found, since=since)
        ids = list(evidence.reasons) if wanted.worker_ids is None else list(wanted.worker_ids)

        def op(tx: WriteTx) -> int:
            chosen = _with_added_since(tx, ids, found, wanted, since)
            records = workers.find_workers(tx.conn, chosen)
            meant = without_later({w: r for w, r in records.items() if w in set(ids)}, actor)
            if actor.confirmation is None:
                _check_found(wanted, records)
                meant = records
            self._gate.check(tx, _asked(found, wanted, since, list(meant)), actor=actor)
            records = {w: record for w, record in records.items() if w in meant or w not in set(ids)}
            if wanted.revoke_key:
                _revoke(tx, found, now)
            if wanted.action == "disable":
                note = f"Incident {found.subject}"[:MAX_NOTE]
                workers.replace_workers(tx, [_disabled(record, now, note) for record in records.values()])
            else:
                workers.delete_workers(tx, list(records))
            details = self._details(records, found, wanted, since)
            tx.audit(actor.audit_event(CUT_OFF, found.audit_subject, at=now, details=details))
            return tx.head.number

        async with self._gate.asking(actor):
            return await self._store.write(op)

    def _details(
        self,
        records: dict[str, WorkerRecord],
        found: FoundSubject,
        wanted: Wanted,
        since: datetime | None,
    ) -> dict[str, str]:
        by_key = (
            {w for public_id in found.public_ids for w in self._sessions.online_with_key(public_id)}
            if wanted.revoke_key
            else set[str]()
        )
        return {
            "since": since.isoformat() if since else "",
            "key": "revoked" if wanted.revoke_key else "kept" if found.is_live is not None else "none",
            "action": wanted.action if records else "none",
            "count": str(len(records | dict.fromkeys(by_key))),
            # Separated by spaces, which no ID contains.
            "workers": " ".join(sorted(records)),
            # For `core.access_history`: the previous state of the entries, which are changed or deleted afterwards.
            "disabled_before": " ".join(sorted(w for w, record in records.items() if not record.enabled)),
            "auto_enrolled": " ".join(
                sorted(w for w, record in records.items() if record.strategy is Strategy.AUTO_ENROLLMENT)
            ),
            "by_key": " ".join(sorted(by_key - records.keys())),
        }


def _check_revocable(found: FoundSubject, wanted: Wanted) -> None:
    if not wanted.revoke_key or found.can_be_revoked:
        return
    if found.subject.kind is SubjectKind.ENROLLMENT_KEY and found.is_live:
        raise ConflictError(
            "key_cannot_be_revoked",
            "The enrollment key 'startup' is a setting of the Server.",
            hint="Change LYFTDATA_AUTO_ENROLLMENT_KEY on every Server first, start them again, and cut off without revoking.",
        )
    raise ConflictError(
        "key_cannot_be_revoked",
        f"'{found.subject}' is not a key that can be revoked, or was revoked already.",
        hint="Cut off without revoking.",
    )


def _asked(found: FoundSubject, wanted: Wanted, since: datetime | None, worker_ids: list[str]) -> CutOff:
    return CutOff(
        subject=str(found.subject),
        since=since,
        action=wanted.action,
        worker_ids=worker_ids,
        takes_new=wanted.takes_new or (wanted.worker_ids is None and bool(found.fingerprints)),
        revoke_key=wanted.revoke_key,
    )


def _check_found(wanted: Wanted, records: Mapping[str, WorkerRecord]) -> None:
    """Reject chosen Workers that do not exist: otherwise a mistyped ID would seem to be cut off."""
    missing = [worker_id for worker_id in wanted.worker_ids or () if worker_id not in records]
    if missing:
        more = f" and {len(missing) - _MAX_NAMED:,} more" if len(missing) > _MAX_NAMED else ""
        named = ", ".join(clean_text(worker_id, 64) for worker_id in missing[:_MAX_NAMED])
        raise InvalidInputError("workers", f"do not exist: {named}{more}; nothing was changed")


def _revoke(tx: WriteTx, found: FoundSubject, now: datetime) -> None:
    if found.subject.kind is SubjectKind.API_KEY:
        api_keys.revoke_api_key(tx, found.subject.value, now)
    else:
        enrollment_keys.revoke_enrollment_key(tx, found.subject.value, now)


def _with_added_since(
    tx: WriteTx, ids: Sequence[str], found: FoundSubject, wanted: Wanted, since: datetime | None
) -> list[str]:
    """Add the Workers that have enrolled since the search: no other Worker can enroll during the transaction."""
    if (wanted.worker_ids is not None and not wanted.takes_new) or not found.fingerprints:
        return list(ids)
    enrolled = workers.ids_enrolled_with(tx.conn, found.fingerprints, since=since)
    return list(dict.fromkeys([*ids, *enrolled]))


def _disabled(record: WorkerRecord, now: datetime, note: str) -> WorkerRecord:
    """Return a disabled entry; it is published again even if it was already disabled, as in `Workers.change`."""
    if not record.enabled:
        # Undone cut-off: one that was disabled with a time limit would come back by itself.
        return msgspec.structs.replace(record, disabled_note=note, disabled_until=None)
    epoch = next_epoch(record.epoch, now=now)
    return msgspec.structs.replace(record, enabled=False, epoch=epoch, disabled_note=note)
