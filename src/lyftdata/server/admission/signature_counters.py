"""
Counts the signatures of each identity key, and refuses copies of an identity (`core.signature_counter`, docs/decisions/0026).

A single Server counts in memory, and writes changes within a second: the token path writes nothing. A crash loses that second:
numbers from it look new afterwards, so that one copy made in it may be accepted, but nothing is refused wrongly.

With several Servers the database counts, in the transaction that spends the assertion there anyway (`replay`).
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.records import SignatureCounterRecord, WorkerRecord
from lyftdata.core.refusals import (
    CounterMissingError,
    HostPlace,
    IdentityClonedError,
    StaleAssertionError,
)
from lyftdata.core.signature_counter import CounterState, SignatureNumber, Verdict, judge
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import signature_counters

# A running copy asks every half a minute. A permanent decision would admit a directory that turns up years later.
CONTINUE_WITHIN = timedelta(days=1)


class Counted(msgspec.Struct, frozen=True):
    """
    A signature to count.

    Attributes:
        worker_id: The Worker.
        thumbprint: The key that signed.
        signed: Its number; None if it has none.
        address: Where the request came from.
        at: When it arrived, by the Server's clock.
        rotation: The Worker's current and next key, during a rotation: the same directory continues to count.
    """

    worker_id: str
    thumbprint: str
    signed: SignatureNumber | None
    address: str
    at: datetime
    rotation: tuple[str, ...] = ()

    def continues(self, record: SignatureCounterRecord) -> bool:
        """Return whether a counter belongs to this key, or to the one that it replaces."""
        return record.thumbprint == self.thumbprint or record.thumbprint in self.rotation

    @property
    def place(self) -> HostPlace:
        """Return the host that signed."""
        return HostPlace("" if self.signed is None else self.signed.host, self.address)


def count_signature(record: SignatureCounterRecord | None, counted: Counted) -> SignatureCounterRecord | None:
    """
    Return the counter after a signature; None if this Worker's signatures are not counted.

    Args:
        record: The previous counter; None if there is none.
        counted: A verified signature whose assertion has been spent.

    Raises:
        IdentityClonedError: Another directory has signed with this identity.
        CounterMissingError: It has no number, although earlier ones of this key have.
        StaleAssertionError: Assertions signed long after it have already been accepted.
    """
    signed = counted.signed
    if record is not None and not counted.continues(record):
        # The counter of a key that has since been replaced.
        record = None
    if signed is None:
        _check_not_counted(record, counted)
        return None
    if signed.refused_as and (record is None or not _admits(record, signed.refused_as, at=counted.at)):
        raise _cloned(record, counted, refused_as=signed.refused_as)
    state = None if record is None or signed.refused_as else _state_of(record)
    verdict, after = judge(state, signed)
    if verdict is Verdict.CLONED:
        raise _cloned(record, counted)
    if verdict is Verdict.STALE:
        raise StaleAssertionError(
            f"Signatures of this identity from long after this one (number {signed.number}) were accepted.",
            claimed_worker=counted.worker_id,
        )
    # A late signature by the previous key must not turn the counter back into that key's.
    is_rotated = record is not None and (record.thumbprint,) == counted.rotation[-1:]
    thumbprint = counted.rotation[-1] if is_rotated else counted.thumbprint
    before = None if signed.refused_as else record
    return _record_of(after, counted, signed, before=before, thumbprint=thumbprint)


def _admits(record: SignatureCounterRecord, reference: str, *, at: datetime) -> bool:
    """Return whether an operator allowed this copy to continue, and it has come in time."""
    return record.admits == reference and record.admits_until is not None and at < record.admits_until


def _check_not_counted(record: SignatureCounterRecord | None, counted: Counted) -> None:
    # Evading detection: otherwise a thief who has only the key could leave out the number.
    if record is not None:
        raise CounterMissingError(
            f"Counted up to {record.number} on {HostPlace(record.host, record.address)}; this one is from {counted.address}.",
            claimed_worker=counted.worker_id,
        )


def _cloned(
    record: SignatureCounterRecord | None, counted: Counted, *, refused_as: str = ""
) -> IdentityClonedError:
    accepted = HostPlace() if record is None else HostPlace(record.host, record.address)
    return IdentityClonedError(
        claimed_worker=counted.worker_id, refused=counted.place, accepted=accepted, refused_as=refused_as
    )


def _state_of(record: SignatureCounterRecord) -> CounterState:
    return CounterState((record.number, record.at_ms), record.recent)


def _record_of(
    state: CounterState,
    counted: Counted,
    signed: SignatureNumber,
    *,
    before: SignatureCounterRecord | None,
    thumbprint: str,
) -> SignatureCounterRecord:
    """Return the new record; a decision about another copy is kept, one about this copy has been used."""
    number, at_ms = state.highest
    return SignatureCounterRecord(
        worker_id=counted.worker_id,
        thumbprint=thumbprint,
        number=number,
        at_ms=at_ms,
        recent=state.recent,
        host=signed.host,
        address=counted.address,
        admits="" if before is None else before.admits,
        admits_until=None if before is None else before.admits_until,
    )


class SignatureCounters:
    """
    The counters of all identity keys.

    Args:
        store: Where they are kept.
        records: The stored counters; not used with several Servers.
    """

    def __init__(self, *, store: Store, records: Iterable[SignatureCounterRecord] = ()) -> None:
        self._store = store
        self._records = {record.worker_id: record for record in records}
        self._unwritten: dict[str, SignatureCounterRecord] = {}
        self._flushing = asyncio.Lock()

    def count(self, counted: Counted) -> Counted | None:
        """
        Count a signature.

        Returns:
            The signature, if it must still be counted in the database (with several Servers); otherwise None.

        Raises:
            RefusedError: From `count_signature`.
        """
        if self._store.is_shared:
            return counted
        record = self._records.get(counted.worker_id)
        after = count_signature(record, counted)
        if after is not None:
            self._records[counted.worker_id] = self._unwritten[counted.worker_id] = after
        return None

    def admit_in(
        self, tx: WriteTx, worker: WorkerRecord, reference: str, *, now: datetime
    ) -> SignatureCounterRecord:
        """
        Allow a copy to continue as the Worker, in a transaction; it must come within a day.

        Returns:
            The counter with that decision; with one Server, pass it to `admit` after the commit.
        """
        stored = signature_counters.find_counters(tx.conn, [worker.id]).get(worker.id)
        known = self._records.get(worker.id, stored)
        thumbprint = str(worker.thumbprint)
        if known is None or known.thumbprint != thumbprint:
            # Nothing is known about this key: the Server's database was restored, or the key was replaced.
            known = SignatureCounterRecord(worker_id=worker.id, thumbprint=thumbprint, number=0, at_ms=0)
        admitting = msgspec.structs.replace(known, admits=reference, admits_until=now + CONTINUE_WITHIN)
        signature_counters.upsert_counters(tx, [admitting])
        return admitting

    def withdraw_in(self, tx: WriteTx, worker: WorkerRecord, reference: str) -> SignatureCounterRecord | None:
        """
        Withdraw, in a transaction, the permission of a copy to continue as the Worker, unless it has been used.

        Returns:
            As for `admit_in`; None if there was no such permission.
        """
        stored = signature_counters.find_counters(tx.conn, [worker.id]).get(worker.id)
        known = self._records.get(worker.id, stored)
        if known is None or known.admits != reference:
            return None
        withdrawn = msgspec.structs.replace(known, admits="", admits_until=None)
        signature_counters.upsert_counters(tx, [withdrawn])
        return withdrawn

    def admit(self, admitting: SignatureCounterRecord) -> None:
        """Apply a decision from `admit_in` or `withdraw_in` in memory."""
        if self._store.is_shared:
            return
        known = self._records.get(admitting.worker_id)
        if known is not None and known.thumbprint == admitting.thumbprint:
            # It may have counted in the meantime.
            admitting = msgspec.structs.replace(
                known, admits=admitting.admits, admits_until=admitting.admits_until
            )
        # A counter from before the decision may be on its way to the database, and would overwrite it.
        self._records[admitting.worker_id] = self._unwritten[admitting.worker_id] = admitting

    def forget(self, worker_id: str) -> None:
        """Drop the counter of a deleted Worker."""
        self._records.pop(worker_id, None)
        self._unwritten.pop(worker_id, None)

    async def flush(self) -> None:
        """Write changes, in batches; what could not be written is retried the next time."""
        async with self._flushing:
            unwritten, self._unwritten = self._unwritten, {}
            try:
                for part in in_parts(unwritten.values()):
                    await self._store.write(
                        lambda tx, part=part: signature_counters.upsert_counters(tx, part)  # type: ignore[misc]
                    )
            except BaseException:
                self._unwritten = unwritten | self._unwritten
                raise
