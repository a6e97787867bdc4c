"""
Opens the database: one writer that commits in batches, and a few readers.

Every change goes through one thread. While it commits, others queue; it then runs all of them in one
transaction, each in its own savepoint, so that a failing one fails alone, and commits once. Durability
costs one fsync per batch instead of one per change, and the audit chain, which must be written in order
anyway, needs no lock (docs/decisions/0002).

    result = await store.write(lambda tx: workers.insert_worker(tx, record))   # durable when it returns
    found  = await store.read(lambda conn: workers.find_worker(conn, "w-1"))
"""

import asyncio
import contextlib
import queue
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from lyftdata.core.audit import ChainReport
from lyftdata.store import audit_log, migrate
from lyftdata.store.audit_check import AuditCheck
from lyftdata.store.change_feed import change_log
from lyftdata.store.change_feed.feed import ChangeFeed, ReceivedChanges, channel_of
from lyftdata.store.changes import Change
from lyftdata.store.dialects import dialect
from lyftdata.store.dialects.pooled_connections import PooledConnections
from lyftdata.store.errors import StoreError, problem_of, remedy_of
from lyftdata.store.writer import batch, lock_holders
from lyftdata.store.writer.batch import translated
from lyftdata.store.writer.health import WriterHealth
from lyftdata.store.writer.jobs import Job, Together, UncertainCommit
from lyftdata.store.writer.transaction import WriteTx

T = TypeVar("T")

_MAX_IN_A_GROUP = 256
_READERS = 2
MAX_CONNECTIONS = 1 + _READERS + 2
"""How many connections to PostgreSQL a Server opens at most: its writer, its readers, and two that read what peers have changed."""
# No operation during shutdown takes that long, unless the database does not answer.
_FINISHED_WITHIN_S = 15.0

OnChange = Callable[[Sequence[Change]], None]


class Store:
    """The database behind one writer thread and a few reader threads; opened by `open`, closed by `close`."""

    def __init__(
        self,
        engine: Engine,
        *,
        head: audit_log.Head,
        audit_key: bytes,
        lock: int | None,
        position: change_log.Cursor,
        connections: PooledConnections,
    ) -> None:
        self._engine = engine
        self._head = head
        self.server_id = secrets.token_hex(8)
        """The ID of this Server among its peers; a new one at each start."""
        self._change_feed = (
            ChangeFeed(
                engine,
                server_id=self.server_id,
                channel=channel_of(audit_key),
                position=position,
                on_change=self._announce,
            )
            if dialect.is_shared(engine)
            else None
        )
        self._lock = lock
        self._connections = connections
        # A migration may take long; the Server's own statements may not.
        self._watching = contextlib.ExitStack()
        if dialect.is_shared(engine):
            self._watching.enter_context(connections.watched())
        self._reading = dialect.for_reading(engine)
        self._audit_key = audit_key
        self._on_change: OnChange | None = None
        self._load: Callable[[], Awaitable[None]] | None = None
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._writer = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._closing = False
        self.writer_health = WriterHealth()
        self._doubt: UncertainCommit | None = None
        self._check = AuditCheck(key=audit_key, read=self.read, count=lambda: self._head.number)
        self._writer.start()

    @classmethod
    def open(cls, url: str | URL, *, audit_key: bytes) -> Self:
        """
        Open a database, upgrading its schema first.

        Args:
            url: SQLAlchemy URL.
            audit_key: 32 bytes that key the audit chain; kept outside the database.

        Raises:
            StoreError: Unreachable, damaged, or written by a newer version of this program.
        """
        engine = dialect.make_engine(url)
        connections = PooledConnections(engine)
        lock = None
        try:
            lock = dialect.lock_database(engine)
            head, position = _prepare(engine, audit_key)
        except BaseException as error:
            held_by = lock_holders.describe_lock_holder(engine, error)
            engine.dispose()
            dialect.unlock_database(lock)
            if isinstance(error, DBAPIError):
                raise StoreError(
                    f"The database cannot be used: {problem_of(error)}.{held_by}",
                    hint=remedy_of(error),
                ) from error
            raise
        return cls(
            engine, head=head, audit_key=audit_key, lock=lock, position=position, connections=connections
        )

    async def write(self, op: Callable[[WriteTx], T]) -> T:
        """
        Run an operation in the writer's transaction; durable when this returns.

        Changes that peers made before it are in memory by then.

        Cancelling the caller does not undo it.

        Raises:
            StoreError: The database failed; nothing of the operation was kept.
            Exceptions of `op`: then nothing of it was kept either.
        """
        if self._closing:
            raise StoreError("The store is closed.")
        loop = asyncio.get_running_loop()
        job = Job(op, loop)
        # Operations that were gathered earlier go first.
        self._queue_gathered(loop)
        self._jobs.put(job)
        return await job.future

    async def write_batched(self, op: Together[T], item: object) -> T:
        """
        Run an operation that can be batched: once for all items queued by then, with few statements.

        `op` gets one item or many and returns a result for each; the size of the batch must not affect any result. If it raises,
        the batch is rolled back and `op` is run for each item alone.

        Raises:
            StoreError: As for `write`.
            Exceptions of `op` for this item alone.
        """
        if self._closing:
            raise StoreError("The store is closed.")
        loop = asyncio.get_running_loop()
        job = Job(partial(_first, op, item), loop, together=op, item=item)
        # Gathered until the next turn of the event loop: otherwise the writer would start with the first item and leave the others for later.
        if loop not in self._gathered:
            self._gathered[loop] = []
            loop.call_soon(self._queue_gathered, loop)
        self._gathered[loop].append(job)
        return await job.future

    def _queue_gathered(self, loop: asyncio.AbstractEventLoop) -> None:
        for job in self._gathered.pop(loop, ()):
            self._jobs.put(job)

    async def read(self, op: Callable[[Connection], T]) -> T:
        """
        Run a read operation on its own connection.

        Raises:
            StoreError: The database failed, or the store is closed.
        """
        if self._closing:
            raise StoreError("The store is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, op)

    async def read_tables(self, op: Callable[[Connection], T]) -> T:
        """
        Run a read operation that scans whole tables once; raises like `read`.

        The database caches little of them: otherwise it would keep that memory for as long as the Server runs.
        """

        def scan(conn: Connection) -> T:
            with dialect.scanning(conn):
                return op(conn)

        return await self.read(scan)

    @property
    def is_shared(self) -> bool:
        """Return whether other Servers may use the same database."""
        return self._change_feed is not None

    def deliver_changes_to(
        self, on_change: OnChange, *, load: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """
        Deliver changes from the next commit on.

        Args:
            on_change: Called in the event loop with the changes of a commit, after the commit and before the caller that
             made it continues.
            load: Loads what a change only names; `refresh` waits for it.
        """
        self._on_change = on_change
        self._load = load

    def start_change_feed(self) -> None:
        """Start to deliver the changes of peers, beginning at the time at which the database was opened."""
        if self._change_feed is not None:
            self._change_feed.begin(asyncio.get_running_loop())

    def is_current(self) -> bool:
        """Return whether the state in memory is current: the changes of peers were read just now."""
        return self._change_feed is None or self._change_feed.is_current()

    async def refresh(self, *, full: bool = False) -> None:
        """
        Read the changes of peers, and load what they name; with `full`, every change committed before this call.

        Raises:
            StoreError: The database cannot be queried.
        """
        if self._change_feed is not None:
            await self._change_feed.refresh(full=full)
            if self._load is not None:
                await self._load()

    @property
    def audit_is_sound(self) -> bool:
        """Return whether the end of the audit log was intact when the database was opened."""
        return self._head.sound

    @property
    def audit_is_intact(self) -> bool:
        """Return whether no fault of the audit log is known: neither of its end when it was opened, nor from the last check."""
        return self._head.sound and self._check.last_was_ok

    @property
    def audit_length(self) -> int:
        """Return how many events the audit log has."""
        return self._head.number

    async def verify_audit(self) -> ChainReport:
        """Check every link of the audit chain, and its end; one check at a time, shared by all callers that wait for it."""
        return await self._check.verify()

    def check_progress(self) -> tuple[int, int]:
        """Return how many events the running check has checked, and how many there are; zeros if none is running."""
        return self._check.progress()

    async def close(self) -> None:
        """Finish queued operations, then close every connection; may be called twice."""
        if self._closing:
            return
        self._closing = True
        self._check.end()
        self._queue_gathered(asyncio.get_running_loop())
        self._jobs.put(None)
        # Shielded: cancelling the caller must not leave connections open and the lock held.
        await asyncio.shield(asyncio.to_thread(self._finish))

    def aborting_stuck_connections(self, *, after_s: float) -> contextlib.AbstractContextManager[None]:
        """
        Return a context in which callers still waiting for the database after `after_s` seconds get a StoreError.

        For shutdown: a pooler or proxy may accept a request and never answer, and the network reports no error.
        """
        return self._connections.aborted_after(after_s)

    def _finish(self) -> None:
        with self.aborting_stuck_connections(after_s=_FINISHED_WITHIN_S):
            self._writer.join()
            if self._change_feed is not None:
                self._change_feed.end()
            self._readers.shutdown()
        self._watching.close()
        self._engine.dispose()
        dialect.unlock_database(self._lock)

    def _read(self, op: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as conn:
                return op(conn)
        except (DBAPIError, StopIteration, OverflowError, UnicodeEncodeError) as error:
            raise translated(error) from None

    def _write_forever(self) -> None:
        while (jobs := self._next_group()) is not None:
            self._run_group(jobs)

    def _next_group(self) -> list[Job[Any]] | None:
        """Wait for an operation and take everything queued by then; None when the store closes."""
        job = self._jobs.get()
        if job is None:
            return None
        taken = [job]
        while len(taken) < _MAX_IN_A_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                # The end marker: stop after this batch.
                self._jobs.put(None)
                break
            taken.append(job)
        return taken

    def _run_group(self, jobs: list[Job[Any]]) -> None:
        self.writer_health.begin()
        try:
            self._resolve_uncertain_commit()
            self._commit_with_fallback(jobs)
            self.writer_health.succeed()
        except BaseException as error:  # noqa: BLE001 - whatever it was, every waiting caller must get the error
            self.writer_health.fail(str(translated(error)))
            for job in jobs:
                # The operations of this batch are rolled back together, so no caller may get a success.
                job.error = job.error or translated(error)
                job.changes = []
        self._complete_jobs(jobs)

    def _commit_with_fallback(self, jobs: list[Job[Any]]) -> None:
        try:
            self._commit_group(jobs, alone=len(jobs) == 1)
        except batch.EventsNotWrittenError:
            for job in jobs:
                job.restart()
            self._commit_group(jobs, alone=True)

    def _commit_group(self, jobs: list[Job[Any]], *, alone: bool) -> None:
        doubt: UncertainCommit | None = None
        received = None
        try:
            with self._engine.begin() as conn:
                before = self._lock_out_other_writers(conn)
                head = batch.run(conn, jobs, head=before, key=self._audit_key, alone=alone)
                received = self._publish_to_peers(conn, jobs)
                if head != before:
                    audit_log.write_head(conn, head, key=self._audit_key)
                    doubt = UncertainCommit(head, jobs)
        except DBAPIError:
            # A failed commit may still have happened: the answer was lost, not the change.
            self._doubt = doubt
            with contextlib.suppress(DBAPIError):
                if self._resolve_uncertain_commit(publish=False):
                    return
            raise
        self._head = head
        if received is not None and self._change_feed is not None:
            self._change_feed.apply_received(received)

    def _lock_out_other_writers(self, conn: Connection) -> audit_log.Head:
        """Wait for the writer lock; return the head of the audit chain, to which peers may have appended."""
        dialect.lock_out_other_writers(conn)
        head = audit_log.follow(conn, known=self._head, key=self._audit_key)
        if (
            self._head.sound
            and not head.sound
            and audit_log.is_under_another_key(conn, after=self._head.number)
        ):
            # This Server was suspended while the key was rotated. What it writes would break an intact chain.
            raise StoreError(
                "The secret key was rotated while this Server ran; it writes nothing with the old one.",
                hint="Restart it with the new secret key.",
            )
        return head

    def _publish_to_peers(self, conn: Connection, jobs: list[Job[Any]]) -> ReceivedChanges | None:
        """Record the changes of these jobs for peers; return what peers have changed."""
        changes = [change for job in jobs for change in job.changes]
        if self._change_feed is None or not (changes or self._change_feed.has_begun()):
            return None
        # Also without changes: a writer that waited for its turn must continue from what was changed in the turns before.
        return self._change_feed.record_changes(conn, changes)

    def _resolve_uncertain_commit(self, *, publish: bool = True) -> bool:
        """
        Find out whether the last commit happened, if that is uncertain: the end of the audit log shows it.

        Otherwise the next event would get a number in use, and admission would keep the old state.

        Args:
            publish: Whether to publish its changes; not if its callers are still waiting and will be answered.

        Returns:
            Whether a commit was uncertain and turned out to have happened.

        Raises:
            DBAPIError: The database cannot be queried; it stays uncertain.
        """
        doubt = self._doubt
        if doubt is None:
            return False
        with self._engine.connect() as conn:
            has_happened = audit_log.has(conn, doubt.head)
        self._doubt = None
        if not has_happened:
            return False
        self._head = doubt.head
        for loop, changes in doubt.changes if publish else ():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._announce, changes)
        return True

    def _complete_jobs(self, jobs: list[Job[Any]]) -> None:
        """Complete a batch of jobs on their event loops in one step: changes first, then results."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
        for job in jobs:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, theirs in by_loop.items():
            # A closed event loop has no callers left; the writer continues for the others.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle, theirs)

    def _settle(self, jobs: list[Job[Any]]) -> None:
        try:
            # With peers, these changes were already delivered by the change feed, together with the peers' own.
            if self._change_feed is None or not self._change_feed.has_begun():
                self._announce([change for job in jobs for change in job.changes])
        finally:
            for job in jobs:
                job.settle()

    def _announce(self, changes: Sequence[Change]) -> None:
        if changes and self._on_change is not None:
            self._on_change(changes)


def _first(op: Together[T], item: object, tx: WriteTx) -> T:
    return op(tx, [item])[0]


def _prepare(engine: Engine, audit_key: bytes) -> tuple[audit_log.Head, change_log.Cursor]:
    """Upgrade the schema; find the end of the audit chain and of the published changes. In one transaction."""
    with dialect.migrating(engine) as conn:
        if migrate.upgrade(conn):
            audit_log.begin(conn, key=audit_key)
        if dialect.is_shared(engine):
            change_log.begin(conn)
        return audit_log.load_head(conn, key=audit_key), change_log.position(conn)
