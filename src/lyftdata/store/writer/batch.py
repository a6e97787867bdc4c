"""
Runs a batch of operations in one transaction, in which each succeeds or fails by itself.

  1. Each runs in its own savepoint. Consecutive operations that can be batched share one, and a few statements; if
     any of them fails, they are run again one by one, so that only the faulty one fails.
  2. The audit events of all are written by one statement.
     If that statement fails, one event is at fault, but it is not known which. Then the whole batch is rolled back and run
     again with each operation's events inside its savepoint. So operations may run twice: their effects outside the
     transaction must tolerate that.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, NestedTransaction
from sqlalchemy.exc import DataError, DBAPIError

from lyftdata.store import audit_log
from lyftdata.store.dialects import dialect
from lyftdata.store.errors import StoreError, UnstorableError, problem_of
from lyftdata.store.writer.jobs import Job
from lyftdata.store.writer.transaction import WriteTx


class EventsNotWrittenError(Exception):
    """The events of a batch could not be written together; the whole batch must be rolled back."""


def run(
    conn: Connection, jobs: list[Job[Any]], *, head: audit_log.Head, key: bytes, alone: bool
) -> audit_log.Head:
    """
    Run operations, and return the new end of the audit chain.

    Args:
        conn: In a transaction.
        jobs: What to run, in this order; each has its outcome afterwards.
        head: The current end of the chain.
        key: The key of the chain.
        alone: Whether each operation writes its own events, in its own savepoint.

    Raises:
        EventsNotWrittenError: Roll back and try again with `alone`.
        DBAPIError: The transaction has ended.
    """
    if alone:
        for job in jobs:
            tx = _run_one(conn, job, WriteTx(conn, head=head, audit_key=key), events_too=True)
            head = tx.head if tx is not None else head
        return head
    events: list[dict[str, Any]] = []
    for neighbours in _split_batchable(jobs):
        for tx in _run_batchable(conn, neighbours, head, key, events):
            head = tx.head
            events += tx.events
    try:
        audit_log.append(conn, events)
    except Exception as error:
        if not dialect.in_transaction(conn):
            raise
        raise EventsNotWrittenError from error
    return head


def _split_batchable(jobs: list[Job[Any]]) -> Iterator[list[Job[Any]]]:
    """Split jobs, in their order, into runs that can be executed as one batch."""
    run: list[Job[Any]] = []
    for job in jobs:
        if run and not job.can_batch_with(run[-1]):
            yield run
            run = []
        run.append(job)
    if run:
        yield run


def _run_batchable(
    conn: Connection, jobs: list[Job[Any]], head: audit_log.Head, key: bytes, owed: list[dict[str, Any]]
) -> Iterator[WriteTx]:
    """Run jobs and yield the transaction of each; the caller adds its events to `owed` before the next one runs."""
    if len(jobs) > 1:
        tx = _run_together(conn, jobs, WriteTx(conn, head=head, audit_key=key, owed=owed))
        if tx is not None:
            yield tx
            return
    for job in jobs:
        tx = _run_one(conn, job, WriteTx(conn, head=head, audit_key=key, owed=owed))
        if tx is not None:
            head = tx.head
            yield tx


def _run_together(conn: Connection, jobs: list[Job[Any]], tx: WriteTx) -> WriteTx | None:
    """Run jobs together in one savepoint; return what they did, or None if they must be run one by one."""
    together = jobs[0].together
    assert together is not None  # noqa: S101 - narrows a type: more than one are neighbours only by that
    savepoint = conn.begin_nested()
    try:
        results = together(tx, [job.item for job in jobs])
        savepoint.commit()
    except Exception as error:  # noqa: BLE001 - one of them is at fault: alone it will say so to its own caller
        _undo(conn, savepoint, error)
        return None
    for job, result in zip(jobs, results, strict=True):
        job.result = result
    # Reported once for all of them, before any of their callers continues.
    jobs[0].changes = tx.changes
    return tx


def _run_one(conn: Connection, job: Job[Any], tx: WriteTx, *, events_too: bool = False) -> WriteTx | None:
    """Run one operation in a savepoint; return what it did, or None if it failed."""
    savepoint = conn.begin_nested()
    try:
        job.result = job.op(tx)
        if events_too:
            audit_log.append(conn, tx.events)
        savepoint.commit()
    except Exception as error:  # noqa: BLE001 - its own caller gets it; the others of the group go on
        _undo(conn, savepoint, error)
        job.error = translated(error)
        return None
    job.changes = tx.changes
    return tx


def _undo(conn: Connection, savepoint: NestedTransaction, error: Exception) -> None:
    if not dialect.in_transaction(conn):
        # If a disk is full, SQLite ends the whole transaction by itself, and so does the end of a connection. Continuing would run the
        # rest outside any transaction, and the commit would silently do nothing for the operations before. All of them get the
        # error that ended it.
        raise error
    savepoint.rollback()


def translated(error: BaseException) -> Exception:
    """Return the exception for a caller; a new one for each, since each is raised in a different task."""
    if isinstance(error, DataError | OverflowError | UnicodeEncodeError):
        # Without the database's message, which may repeat the value.
        return UnstorableError("A value cannot be stored.").with_traceback(error.__traceback__)
    if isinstance(error, DBAPIError):
        # Not chained as its cause: a traceback would show what `problem_of` leaves out. The place is kept.
        return StoreError(f"The database failed: {problem_of(error)}.").with_traceback(error.__traceback__)
    if isinstance(error, StopIteration):
        # A future refuses StopIteration, and the caller would wait for ever (PEP 479 does the same).
        return RuntimeError("an operation raised StopIteration").with_traceback(error.__traceback__)
    if isinstance(error, Exception):
        return error
    return StoreError(f"The operation was interrupted by {type(error).__name__}.").with_traceback(
        error.__traceback__
    )
