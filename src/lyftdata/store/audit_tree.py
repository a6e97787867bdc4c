"""
The Merkle tree of the audit log, computed from its events and compared with the signed checkpoints.

The chain (`audit_log`) can only be checked with the Server's key. The tree needs no key, so that others can verify it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import msgspec
from sqlalchemy import Connection, inspect

from lyftdata.core.audit import ChainReport, verify_chain
from lyftdata.core.audit_checkpoints import CheckpointError, add_event
from lyftdata.core.errors import LyftdataError
from lyftdata.core.merkle_tree import HASH_BYTES, CompactRange
from lyftdata.core.progress import OnProgress, ignore_progress
from lyftdata.core.records import ChainedAuditEvent, CheckpointRecord
from lyftdata.store import audit_log, schema
from lyftdata.store.tables import audit_checkpoints

_AT_ONCE = 500


class AuditLogChangedError(LyftdataError):
    """Events about to be signed were not written by a Server."""

    code = "audit_log_changed"


def extend(conn: Connection, tree: CompactRange, *, audit_key: bytes) -> bool:
    """
    Add the next few events to a tree.

    Returns:
        Whether there may be more.

    Raises:
        AuditLogChangedError: An event does not fit the chain. Nothing is added.
    """
    batch = audit_log.events_after(conn, after=tree.size, limit=_AT_ONCE)
    # Tampering: an event that was inserted into the database must not be signed. The hash before the first event can be taken from
    # the event itself: its keyed hash covers it, and the events before it are those already signed.
    start = (tree.size, batch[0].previous) if batch else (tree.size, b"")
    report = verify_chain(batch, key=audit_key, start=start)
    if not report.ok:
        raise AuditLogChangedError(report.problem)
    for chained in batch:
        add_event(tree, chained)
    return len(batch) == _AT_ONCE


def root_at(conn: Connection, size: int, *, audit_key: bytes) -> bytes | None:
    """Return the root over the first `size` events of the log; None if it has fewer."""
    if audit_log.last_number(conn) < size:
        return None
    tree = audit_checkpoints.last_tree(conn, audit_key=audit_key, size=size)
    while tree.size < size:
        limit = min(_AT_ONCE, size - tree.size)
        batch = audit_log.events_after(conn, after=tree.size, limit=limit)
        if not batch or batch[0].number != tree.size + 1:
            return None
        for chained in batch:
            add_event(tree, chained)
    return tree.root()


def verify(
    conn: Connection,
    *,
    key: bytes,
    written: int = 0,
    between: Callable[[], None] = lambda: None,
    on_progress: OnProgress = ignore_progress,
) -> ChainReport:
    """Check the whole log: its chain, its end, and every checkpoint. Takes the arguments of `audit_log.verify`."""
    checkpoints = CheckpointCheck(conn, audit_key=key)
    report = audit_log.verify(
        conn,
        key=key,
        written=written,
        between=between,
        observe=checkpoints.follow,
        on_progress=on_progress,
    )
    problem = checkpoints.problem_at_end() if report.ok else ""
    return msgspec.structs.replace(report, ok=False, problem=problem) if problem else report


class CheckpointCheck:
    """
    Compares a log with all of its stored checkpoints while its events are read.

    Args:
        conn: A reading connection.
        audit_key: The key of the chain, from which the key of the checkpoints is derived.
    """

    def __init__(self, conn: Connection, *, audit_key: bytes) -> None:
        self._audit_key = audit_key
        self.problem = ""
        # A backup may be from a version that had no checkpoints.
        has_any = inspect(conn).has_table(schema.audit_checkpoints.name)
        removed = audit_log.removed_through(conn)
        self._stored = audit_checkpoints.all_checkpoints(conn, from_size=removed) if has_any else iter(())
        self._next = next(self._stored, None)
        self._tree = self._start(removed)

    def follow(self, events: Iterable[ChainedAuditEvent]) -> Iterator[ChainedAuditEvent]:
        """Yield the events of the log, all of them and in order, comparing as they pass."""
        self._compare()
        for chained in events:
            yield chained
            add_event(self._tree, chained)
            self._compare()

    def problem_at_end(self) -> str:
        """Return the problem found, once every event has been read; empty if there is none."""
        if self.problem or self._next is None:
            return self.problem
        return f"A checkpoint of {self._next.size} events was signed, but the log ends at event {self._tree.size}."

    def _start(self, removed: int) -> CompactRange:
        """Return the tree over the removed events, to which the remaining ones are added."""
        if not removed:
            return CompactRange()
        if self._next is not None and self._next.size == removed:
            with contextlib.suppress(CheckpointError):
                return audit_checkpoints.signed_tree(self._next, audit_key=self._audit_key)
        self.problem = f"The checkpoint of the {removed} events that were removed is missing or was changed."
        return CompactRange(removed, [bytes(HASH_BYTES)] * removed.bit_count())

    def _compare(self) -> None:
        while self._next is not None and self._next.size == self._tree.size:
            if not self.problem:
                self.problem = self._problem_with(self._next)
            self._next = next(self._stored, None)

    def _problem_with(self, record: CheckpointRecord) -> str:
        try:
            signed = audit_checkpoints.signed_tree(record, audit_key=self._audit_key)
        except CheckpointError:
            return f"The checkpoint of {record.size} events was changed."
        if signed.peaks != self._tree.peaks:
            return f"The first {record.size} events are not those of which a checkpoint was signed."
        return ""
