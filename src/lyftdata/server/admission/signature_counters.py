"""
Counts the signatures of each identity key, and refuses copies of an identity (`core.signature_counter`, docs/decisions/0026).

A single Server counts in memory, and writes what has changed within a second: the token path writes nothing. A crash loses that
second: numbers that it does not know of look new, so it may accept a copy once that was made in it, and refuses no one wrongly.

With several Servers the database counts, in the transaction in which the assertion is spent there anyway (`replay`).
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

# A copy that runs asks every half a minute. A decision that stayed would let in a directory that turns up years later.
CONTINUE_WITHIN = timedelta(days=1)


class Counted(msgspec.Struct, frozen=True):
    """
    A signature to count.

    Attributes:
        worker_id: Whose it is.
        thumbprint: The key that has signed.
        signed: Its number; None if it has none.
        address: Where the request came from.
        at: When it arrived, by the Server's clock.
        rotation: The Worker's current and next key, if one takes the other's place: the same directory counts on.
    """

    worker_id: str
    thumbprint: str
    signed: SignatureNumber | None
    address: str
    at: datetime
    rotation: tuple[str, ...] = ()

    def continues(self, record: SignatureCounterRecord) -> bool:
        """Return whether a counter is that of this key, or of the one that it takes the place of."""
        return record.thumbprint == self.thumbprint or record.thumbprint in self.rotation

    @property
    def place(self) -> HostPlace:
        """Return the host that has signed."""
        return HostPlace("" if self.signed is None else self.signed.host, self.address)


def count_signature(record: SignatureCounterRecord | None, counted: Counted) -> SignatureCounterRecord | None:
    """
    Return the counter after a signature; None if this Worker's signatures are not counted.

    Args:
        record: The counter before it; None if there is none.
        counted: A signature that was verified, and whose assertion was spent.

    Raises:
        IdentityClonedError: Another directory has signed with this identity.
        CounterMissingError: It has no number, and others of this key have one.
        StaleAssertionError: Others that were signed long after it were accepted.
    """
    signed = counted.signed
    if record is not None and not counted.continues(record):
        # Of a key that was replaced since.
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
    # A late signature by the key before must not make the counter that one's again.
    is_rotated = record is not None and (record.thumbprint,) == counted.rotation[-1:]
    thumbprint = counted.rotation[-1] if is_rotated else counted.thumbprint
    before = None if signed.refused_as else record
    return _record_of(after, counted, signed, before=before, thumbprint=thumbprint)


def _admits(record: SignatureCounterRecord, reference: str, *, at: datetime) -> bool:
    """Return whether an operator lets a copy continue, and it has come in time."""
    return record.admits == reference and record.admits_until is not None and at < record.admits_until


def _check_not_counted(record: SignatureCounterRecord | None, counted: Counted) -> None:
    # Detection evaded: otherwise a thief with the key alone would only have to leave the number out.
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
    """Return the counter with what it was; the decision about another copy stays, that about this one is used."""
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
        records: Those that are stored; not used with several Servers.
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
            What is still to be counted in the database, with several Servers; None if it is counted.

        Raises:
            RefusedError: As `count_signature`.
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
        Let a copy continue as the Worker, in a transaction; it has a day to come.

        Returns:
            The counter with that decision; with one Server `admit` must follow with it when it is committed.
        """
        stored = signature_counters.find_counters(tx.conn, [worker.id]).get(worker.id)
        known = self._records.get(worker.id, stored)
        thumbprint = str(worker.thumbprint)
        if known is None or known.thumbprint != thumbprint:
            # Nothing is known of this key: the Server's database was restored, or the key was replaced.
            known = SignatureCounterRecord(worker_id=worker.id, thumbprint=thumbprint, number=0, at_ms=0)
        admitting = msgspec.structs.replace(known, admits=reference, admits_until=now + CONTINUE_WITHIN)
        signature_counters.upsert_counters(tx, [admitting])
        return admitting

    def withdraw_in(self, tx: WriteTx, worker: WorkerRecord, reference: str) -> SignatureCounterRecord | None:
        """
        Take back in a transaction that a copy may continue as the Worker, if it has not done so yet.

        Returns:
            As `admit_in`; None if it was not let continue.
        """
        stored = signature_counters.find_counters(tx.conn, [worker.id]).get(worker.id)
        known = self._records.get(worker.id, stored)
        if known is None or known.admits != reference:
            return None
        withdrawn = msgspec.structs.replace(known, admits="", admits_until=None)
        signature_counters.upsert_counters(tx, [withdrawn])
        return withdrawn

    def admit(self, admitting: SignatureCounterRecord) -> None:
        """Let a copy continue as the Worker, here in memory."""
        if self._store.is_shared:
            return
        known = self._records.get(admitting.worker_id)
        if known is not None and known.thumbprint == admitting.thumbprint:
            # It may have counted meanwhile.
            admitting = msgspec.structs.replace(
                known, admits=admitting.admits, admits_until=admitting.admits_until
            )
        # What was counted before the decision may be on its way to the database, and would be written over it.
        self._records[admitting.worker_id] = self._unwritten[admitting.worker_id] = admitting

    def forget(self, worker_id: str) -> None:
        """Drop the counter of a Worker whose entry is gone."""
        self._records.pop(worker_id, None)
        self._unwritten.pop(worker_id, None)

    async def flush(self) -> None:
        """Write what has changed, in parts; what could not be written is written the next time."""
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
