"""
Proves that an event is in the audit log to anyone who has only the public key.

The proof is a C2SP tlog-proof (https://c2sp.org/tlog-proof): the event, its index, the hashes from it to the root of the Merkle
tree, and a checkpoint with that root. It uses the first checkpoint that was signed after the event, so that only the events
between two checkpoints are hashed, however long the log is.
"""

import base64
from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection

from lyftdata.core.audit import leaf_of
from lyftdata.core.audit_checkpoints import add_event
from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.merkle_tree import inclusion_path, leaf_hash, root_from_path
from lyftdata.core.records import ChainedAuditEvent, CheckpointRecord
from lyftdata.server.admin.audit_checkpoints import AuditCheckpoints, Occasion
from lyftdata.store import Store, audit_log
from lyftdata.store.tables import audit_checkpoints

_FORMAT = "c2sp.org/tlog-proof@v1"
_AT_ONCE = 500


class Proof(msgspec.Struct, frozen=True):
    """A proof, and the number of events that were hashed for it."""

    text: str
    hashed: int


class AuditProofs:
    """
    Creates proofs.

    Args:
        store: Whose audit log.
        checkpoints: Signs a checkpoint if there is none after the event.
        audit_key: The key of the chain.
    """

    def __init__(self, *, store: Store, checkpoints: AuditCheckpoints, audit_key: bytes) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._audit_key = audit_key

    async def prove(self, number: int) -> Proof:
        """
        Return the proof of an event.

        Raises:
            NotFoundError: There is no event with that number.
            ConflictError: `audit_log_changed`: the event, or one near it, is not what was signed.
        """
        if number <= await self._store.read(audit_log.removed_through):
            raise NotFoundError("audit_event", str(number), hint="It was too old to be kept.")
        record = await self._store.read(lambda conn: self._find_checkpoint(conn, number))
        if record is None:
            await self._checkpoints.sign(Occasion.EXPORT)
            record = await self._store.read(lambda conn: self._find_checkpoint(conn, number))
        if record is None:
            raise NotFoundError("audit_event", str(number))
        found = record
        return await self._store.read(lambda conn: self._prove(conn, number, found))

    def _find_checkpoint(self, conn: Connection, number: int) -> CheckpointRecord | None:
        return audit_checkpoints.first_covering(conn, number, audit_key=self._audit_key)

    def _prove(self, conn: Connection, number: int, record: CheckpointRecord) -> Proof:
        index = number - 1
        before = audit_checkpoints.last_tree(conn, audit_key=self._audit_key, size=index)
        hashed = record.size - before.size
        events = _events(conn, after=before.size)
        while before.size < index:
            add_event(before, _next(events, before.size + 1))
        event = _next(events, number)
        leaf = leaf_of(event.event, number=number)
        after = (_leaf(_next(events, other)) for other in range(number + 1, record.size + 1))
        path = inclusion_path(index, record.size, before=before, leaves_after=after)
        signed = audit_checkpoints.signed_tree(record, audit_key=self._audit_key)
        if root_from_path(leaf_hash(leaf), index, record.size, path) != signed.root():
            raise _changed(number)
        return Proof(_text(leaf, index, path, record.note), hashed)


def _events(conn: Connection, *, after: int) -> Iterator[ChainedAuditEvent]:
    while batch := audit_log.events_after(conn, after=after, limit=_AT_ONCE):
        yield from batch
        after = batch[-1].number


def _next(events: Iterator[ChainedAuditEvent], number: int) -> ChainedAuditEvent:
    event = next(events, None)
    if event is None or event.number != number:
        raise _changed(number)
    return event


def _leaf(event: ChainedAuditEvent) -> bytes:
    return leaf_hash(leaf_of(event.event, number=event.number))


def _changed(number: int) -> ConflictError:
    return ConflictError(
        "audit_log_changed",
        f"Event {number} of the audit log, or one near it, is not what was signed.",
        hint="See: lyftdata audit verify",
    )


def _text(leaf: bytes, index: int, path: list[bytes], note: str) -> str:
    hashes = "".join(f"{base64.b64encode(node).decode()}\n" for node in path)
    return f"{_FORMAT}\nextra {base64.b64encode(leaf).decode()}\nindex {index}\n{hashes}\n{note}"
