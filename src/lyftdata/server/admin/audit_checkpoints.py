"""
Signs checkpoints of the audit log: at startup, every hour, at shutdown, and on request.

  1. The events since the last checkpoint are checked and added to the log's tree.
  2. The tree is signed, and stored in the database.
  3. The checkpoint is logged (`audit_checkpoint_signed`), so that journald or a SIEM has a copy.
  4. It is also saved in the data directory, outside the database.

At startup a Server compares the log with the checkpoint saved in step 4. If the log does not contain it, the log was truncated or
replaced: the Server reports that (log, overview, metrics, doctor), keeps the file, and signs nothing until an operator has accepted
the log (`lyftdata admin accept-audit-log`). Otherwise the next checkpoint would hide what happened.

Several Servers on one database have the same key and sign the same tree; each saves the last one that it signed.
"""

import asyncio
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import Connection

from lyftdata.core.audit_checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointKey,
    join_peaks,
)
from lyftdata.core.errors import ConflictError, SettingsError
from lyftdata.core.log_events.server import (
    AUDIT_CHECKPOINT_NOT_KEPT,
    AUDIT_CHECKPOINT_SIGNED,
    AUDIT_LOG_CUT,
)
from lyftdata.core.merkle_tree import CompactRange
from lyftdata.core.records import CheckpointRecord
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.kept_checkpoint import KeptCheckpoint
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx, audit_log, audit_tree
from lyftdata.store.tables import audit_checkpoints

_log = get_logger(__name__)

ACCEPT = "lyftdata admin accept-audit-log"


class Occasion(StrEnum):
    """Why a checkpoint is signed."""

    START = "start"
    HOUR = "hour"
    STOP = "stop"
    EXPORT = "export"


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that this Server has signed."""

    size: int
    root: bytes
    note: str
    at: datetime


class AuditCheckpoints:
    """
    Signs checkpoints, and checks that the log contains the last one of the previous run.

    Args:
        store: Holds the audit log.
        key: The signing key.
        audit_key: The key of the chain.
        kept: Saves the last checkpoint.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        key: CheckpointKey,
        audit_key: bytes,
        kept: KeptCheckpoint,
        clock: Clock,
    ) -> None:
        self._store = store
        self._key = key
        self._audit_key = audit_key
        self._kept = kept
        self._clock = clock
        self._tree: CompactRange | None = None
        self._signing = asyncio.Lock()
        self.latest: SignedCheckpoint | None = None
        """The last checkpoint that was signed in this run."""
        self.problem = ""
        """Why the log is not the one that was signed; empty if no fault is known."""

    @property
    def published_key(self) -> str:
        """Return the public key, in the format that verifiers take."""
        return self._key.published

    @property
    def signed_length(self) -> int:
        """Return the number of events in the last checkpoint that this Server has signed."""
        return 0 if self.latest is None else self.latest.size

    @property
    def latest_at(self) -> float:
        """Return when the last checkpoint of this run was signed, as seconds since 1970; 0 if none was."""
        return 0.0 if self.latest is None else self.latest.at.timestamp()

    async def compare_with_kept(self) -> None:
        """Compare the log with the checkpoint saved by the last run, before anything is signed."""
        try:
            kept = await asyncio.to_thread(self._kept.load)
        except (SettingsError, CheckpointError) as error:
            self._reject(f"The last checkpoint in {self._kept.path} cannot be read. {error}")
            return
        if kept is None:
            return
        if await self._store.read(lambda conn: audit_log.begins_after(conn, kept.size)):
            # This Server has not run for so long that the events of its last checkpoint have since been pruned.
            return
        root = await self._store.read(
            lambda conn: audit_tree.root_at(conn, kept.size, audit_key=self._audit_key)
        )
        if root != kept.root:
            self._reject(describe_cut(kept, root, length=self._store.audit_length))

    async def sign(self, occasion: Occasion) -> SignedCheckpoint:
        """
        Sign a checkpoint of the current log.

        Raises:
            ConflictError: `audit_log_changed`: the log is not what was signed before, or has events that no Server wrote.
            StoreError: The database cannot be used.
        """
        async with self._signing:
            if self.problem:
                raise self._conflict()
            tree = await self._current_tree()
            if occasion is Occasion.EXPORT and self.latest is not None and self.latest.size == tree.size:
                return self.latest
            signed = SignedCheckpoint(
                size=tree.size, root=tree.root(), note=self._key.sign(tree), at=self._clock()
            )
            await self._store_checkpoint(signed, tree)
            is_new = self.latest is None or self.latest.note != signed.note
            self._tree, self.latest = tree, signed
        _log_signed(signed, occasion)
        if is_new:
            await self._keep(signed)
        return signed

    async def removed_tree(self) -> CompactRange:
        """
        Return the tree of the events that were removed because of their age.

        Raises:
            ConflictError: `audit_log_changed`: there is no valid checkpoint of exactly these events.
        """

        def read(conn: Connection) -> tuple[int, CompactRange]:
            removed = audit_log.removed_through(conn)
            return removed, audit_checkpoints.last_tree(conn, audit_key=self._audit_key, size=removed)

        removed, tree = await self._store.read(read)
        if tree.size != removed:
            raise ConflictError(
                "audit_log_changed",
                f"The checkpoint of the {removed} events that were removed is missing.",
                hint="See: lyftdata audit verify",
            )
        return tree

    def tree_of(self, record: CheckpointRecord) -> CompactRange:
        """Return the tree of a stored checkpoint; raises CheckpointError if it is not validly signed."""
        return audit_checkpoints.signed_tree(record, audit_key=self._audit_key)

    async def count_unsigned(self) -> int:
        """Return how many events were added since the last checkpoint; raises StoreError if the database cannot be read."""
        return await self._store.read(audit_log.last_number) - (await self._last_tree()).size

    async def _last_tree(self) -> CompactRange:
        if self._tree is not None:
            return self._tree.copy()
        return await self._store.read(
            lambda conn: audit_checkpoints.last_tree(
                conn, audit_key=self._audit_key, size=audit_log.last_number(conn)
            )
        )

    async def _current_tree(self) -> CompactRange:
        tree = await self._last_tree()
        try:
            # In batches: the first checkpoint of a long log must not block other readers.
            while await self._store.read(
                lambda conn: audit_tree.extend(conn, tree, audit_key=self._audit_key)
            ):
                pass
        except audit_tree.AuditLogChangedError as error:
            raise ConflictError(
                "audit_log_changed",
                f"The audit log was changed. {error}",
                hint="See: lyftdata audit verify",
            ) from error
        return tree

    async def _store_checkpoint(self, signed: SignedCheckpoint, tree: CompactRange) -> None:
        record = CheckpointRecord(size=signed.size, at=signed.at, peaks=join_peaks(tree), note=signed.note)

        def op(tx: WriteTx) -> Checkpoint | None:
            # The log may have been rolled back since it was read.
            if audit_log.last_number(tx.conn) < signed.size:
                return None
            return audit_checkpoints.add_checkpoint(tx, record)

        stored = await self._store.write(op)
        if stored is None or stored.root != signed.root:
            self._reject(
                f"A checkpoint of {signed.size} events was signed, and the log does not contain them any more."
            )
            raise self._conflict()

    async def _keep(self, signed: SignedCheckpoint) -> None:
        try:
            await asyncio.to_thread(self._kept.save, signed.note)
        except (OSError, SettingsError) as error:
            emit(_log, AUDIT_CHECKPOINT_NOT_KEPT, file=str(self._kept.path), problem=str(error))

    def _reject(self, problem: str) -> None:
        self.problem = problem
        emit(_log, AUDIT_LOG_CUT, problem=problem, file=str(self._kept.path))

    def _conflict(self) -> ConflictError:
        return ConflictError(
            "audit_log_changed",
            f"No checkpoint is signed. {self.problem}",
            hint=f"On the Server's host: {ACCEPT}",
        )


def describe_cut(kept: Checkpoint, found: bytes | None, *, length: int) -> str:
    """Return a sentence about a log that does not contain a saved checkpoint."""
    if found is None:
        return (
            f"The audit log ends at event {length}, but a checkpoint of {kept.size} events was signed. "
            "Events were removed from its end, or the database was put back to an earlier state."
        )
    return (
        f"The first {kept.size} events of the audit log are not those of which a checkpoint was signed. "
        "The log was changed, or this is another database."
    )


def _log_signed(signed: SignedCheckpoint, occasion: Occasion) -> None:
    origin, _, root, _, signature = signed.note.splitlines()
    emit(
        _log,
        AUDIT_CHECKPOINT_SIGNED,
        occasion=occasion.value,
        origin=origin,
        size=signed.size,
        root=root,
        signature=signature.rpartition(" ")[2],
    )
