"""
Decides about Workers that wait for approval: operators approve or deny them, and those not decided in time expire.

    pending --approve--> approved          gets tokens from its next request on
            --deny-----> denied --+
            --time-----> expired -+--approve--> approved
                                  +--the same time again--> deleted

An approved Worker gets its name at that time, by the same rule as a Worker that enrolls: an offline holder is superseded.
"""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ForbiddenError
from lyftdata.core.records import Approval, AuditEvent, WorkerRecord
from lyftdata.core.refusals import NameInUseError
from lyftdata.server.admin.scope_checks import check_grants
from lyftdata.server.admission.name_claims import NameClaims
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import workers

# If a full queue expires at once, each transaction handles a batch, and Workers' requests are answered in between.
_AT_ONCE = 200


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """
    The result of a decision about one Worker.

    `problem` is an error code, with a sentence in `detail`; both are empty if the decision was made, or had been made
    before.
    """

    worker_id: str
    name: str = ""
    problem: str = ""
    detail: str = ""


class Approvals:
    """
    Approves and denies Workers.

    Args:
        store: Stores the entries.
        name_claims: Decides whether an approved Worker gets its name.
        expires_after: How long a Worker waits for a decision.
        clock: Returns aware UTC time.
    """

    def __init__(
        self, *, store: Store, name_claims: NameClaims, expires_after: timedelta, clock: Clock
    ) -> None:
        self._store = store
        self._name_claims = name_claims
        self._expires_after = expires_after
        self._clock = clock

    async def approve(self, worker_ids: Sequence[str], *, actor: Actor) -> list[Decided]:
        """Approve Workers that are pending, denied or expired; each independently of the others. Repeating it changes nothing."""
        return await self._store.write(
            lambda tx: [self._approve_one(tx, worker_id, actor) for worker_id in worker_ids]
        )

    async def deny(self, worker_ids: Sequence[str], *, actor: Actor) -> list[Decided]:
        """Deny pending Workers; each independently of the others. Repeating it changes nothing."""
        return await self._store.write(
            lambda tx: [self._deny_one(tx, worker_id, actor) for worker_id in worker_ids]
        )

    async def expire(self) -> None:
        """Expire Workers that have waited too long, and delete those that were denied or expired as long ago."""
        while await self._store.write(self._expire_some) == _AT_ONCE:
            pass
        while await self._store.write(self._delete_some) == _AT_ONCE:
            pass

    def _approve_one(self, tx: WriteTx, worker_id: str, actor: Actor) -> Decided:
        record = workers.find_worker(tx.conn, worker_id)
        if record is None or not actor.scope.covers_worker(record):
            return _not_found(worker_id)
        if record.approval is None:
            return (
                _never_waited(record)
                if record.approval_since is None
                else Decided(worker_id=worker_id, name=record.name)
            )
        holder = workers.find_live_by_name(tx.conn, record.name)
        try:
            superseded = self._name_claims.find_superseded(tx, record, holder, within=actor.scope)
        except NameInUseError as error:
            return Decided(
                worker_id=worker_id,
                name=record.name,
                problem="worker_name_taken",
                # The error names the holder.
                detail=error.detail
                if actor.scope.covers_worker(holder)
                else "A Worker outside your scope has this name.",
            )
        try:
            # Privilege escalation: the Worker may have chosen its labels and name itself, and needs approval because that must not be enough.
            check_grants(tx, None, record, actor)
        except ForbiddenError as error:
            return Decided(
                worker_id=worker_id, name=record.name, problem="outside_scope", detail=error.message
            )
        now = self._clock()
        if superseded is not None:
            workers.replace_worker(tx, self._name_claims.superseded(superseded, by=record))
            details = {"name": record.name, "by": record.id}
            tx.audit(actor.audit_event("worker.superseded", _subject(superseded), at=now, details=details))
        self._replace(tx, record, None)
        details = {"name": record.name, "fingerprint": str(record.thumbprint)}
        tx.audit(actor.audit_event("worker.approved", _subject(record), at=now, details=details))
        return Decided(worker_id=worker_id, name=record.name)

    def _deny_one(self, tx: WriteTx, worker_id: str, actor: Actor) -> Decided:
        record = workers.find_worker(tx.conn, worker_id)
        if record is None or not actor.scope.covers_worker(record):
            return _not_found(worker_id)
        if record.approval is None and record.approval_since is None:
            return _never_waited(record)
        if record.approval is None:
            return Decided(
                worker_id=worker_id,
                name=record.name,
                problem="worker_approved",
                detail="It does not wait for approval: disable or delete it instead.",
            )
        if record.approval is not Approval.DENIED:
            self._replace(tx, record, Approval.DENIED)
            details = {"name": record.name, "fingerprint": str(record.thumbprint)}
            tx.audit(actor.audit_event("worker.denied", _subject(record), at=self._clock(), details=details))
        return Decided(worker_id=worker_id, name=record.name)

    def _replace(self, tx: WriteTx, record: WorkerRecord, approval: Approval | None) -> None:
        workers.replace_worker(
            tx, msgspec.structs.replace(record, approval=approval, approval_since=self._clock())
        )

    def _expire_some(self, tx: WriteTx) -> int:
        found = self._find(tx, Approval.PENDING)
        for record in found:
            self._replace(tx, record, Approval.EXPIRED)
            tx.audit(self._event("worker.approval_expired", record, {"name": record.name}))
        return len(found)

    def _delete_some(self, tx: WriteTx) -> int:
        found = self._find(tx, Approval.DENIED, Approval.EXPIRED)
        for record in found:
            workers.delete_worker(tx, record.id)
            details = {"name": record.name, "strategy": record.strategy.value}
            tx.audit(self._event("worker.deleted", record, details))
        return len(found)

    def _find(self, tx: WriteTx, *approvals: Approval) -> list[WorkerRecord]:
        since_before = self._clock() - self._expires_after
        return workers.find_by_approval(tx.conn, *approvals, since_before=since_before, limit=_AT_ONCE)

    def _event(self, action: str, record: WorkerRecord, details: dict[str, str]) -> AuditEvent:
        return AuditEvent(
            at=self._clock(), actor="server", action=action, subject=_subject(record), details=details
        )


def _not_found(worker_id: str) -> Decided:
    return Decided(worker_id=worker_id, problem="worker_not_found", detail="There is no such Worker.")


def _never_waited(record: WorkerRecord) -> Decided:
    return Decided(
        worker_id=record.id,
        name=record.name,
        problem="worker_not_pending",
        detail="It needs no approval, and never waited for one.",
    )


def _subject(record: WorkerRecord) -> str:
    return f"worker:{record.id}"
