"""Decides about copies of identities; each decision is one transaction with its audit event."""

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.records import CopyDecision, IdentityCopyRecord, SignatureCounterRecord
from lyftdata.server.admission.signature_counters import SignatureCounters
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import identity_copies, workers


class CopyDecisions:
    """What operators decide about directories that were refused as copies."""

    def __init__(self, *, store: Store, counters: SignatureCounters, clock: Clock) -> None:
        self._store = store
        self._counters = counters
        self._clock = clock

    async def decide(
        self, worker_id: str, reference: str, decision: CopyDecision, *, actor: Actor
    ) -> IdentityCopyRecord:
        """
        Decide about a copy; it gets the decision when it asks again.

        Args:
            worker_id: The Worker whose identity it has.
            reference: How it identifies itself: the reference of its first refusal.
            decision: `CONTINUE` accepts its next signature within a day, whatever its number: its host was restored from a snapshot, or is the
                right one of the two. If there is another directory with this identity, that one is refused from then on. `AS_NEW` makes it
                enroll as a new Worker, for which it needs an enrollment key: its current identity gives it no access.
            actor: Who decides.

        Raises:
            NotFoundError: No such Worker within the scope, or no such copy of it.
        """

        def op(tx: WriteTx) -> tuple[IdentityCopyRecord, SignatureCounterRecord | None]:
            worker = workers.get_worker_in(tx.conn, worker_id, actor.scope)
            copy = identity_copies.get_copy(tx.conn, worker_id, reference)
            admitting = (
                self._counters.admit_in(tx, worker, reference, now=self._clock())
                if decision is CopyDecision.CONTINUE
                else self._counters.withdraw_in(tx, worker, reference)
            )
            return self._decide(tx, copy, decision, actor), admitting

        decided, admitting = await self._store.write(op)
        if admitting is not None:
            self._counters.admit(admitting)
        return decided

    def _decide(
        self, tx: WriteTx, copy: IdentityCopyRecord, decision: CopyDecision, actor: Actor
    ) -> IdentityCopyRecord:
        now = self._clock()
        by = actor.audit_name
        identity_copies.decide_copy(tx, copy, decision=decision, at=now, by=by)
        details = {
            "decision": decision.value,
            "reference": copy.reference,
            "host": copy.host,
            "address": copy.address,
        }
        tx.audit(
            actor.audit_event("worker.copy_decided", f"worker:{copy.worker_id}", at=now, details=details)
        )
        decided: IdentityCopyRecord = msgspec.structs.replace(
            copy, decision=decision, decided_at=now, decided_by=by
        )
        return decided
