"""
Runs a batch of operations in one transaction, in which each one succeeds or fails by itself.

  1. Each runs in a savepoint of its own. Neighbours that may be run at once share one, and a few statements; if
     anything is wrong with them, they are run again, each alone, so that one that fails fails alone.
  2. The events of all are written to the audit log by one statement.

If that statement fails, one event is at fault, and it is not known whose. Then the whole group is rolled back and run
again with each operation's events inside its savepoint. So operations may run twice: what they do besides the
transaction must bear that.
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
    """The events of a group could not be written together; nothing of the group may be kept."""


def run(
    conn: Connection, jobs: list[Job[Any]], *, head: audit_log.Head, key: bytes, alone: bool
) -> audit_log.Head:
    """
    Run operations, and return where the audit chain ends then.

    Args:
        conn: In the transaction.
        jobs: What to run, in this order; each has its outcome afterwards.
        head: Where the chain ends now.
        key: The key of the chain.
        alone: Whether each writes all that is its own by itself.

    Raises:
        EventsNotWrittenError: To be rolled back and tried again, `alone`.
        DBAPIError: The transaction is at its end.
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
    """Split jobs into runs that can be executed as one batch, in their order."""
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
    """Run jobs, and yield what each has done; the caller adds its events to `owed` before the next one runs."""
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
    """Run neighbours at once in a savepoint; return what they did, or None if they must be run one by one."""
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
    # Handed on once for all of them, before any of their callers continues.
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
        # A full disk makes SQLite end the whole transaction by itself, and so does the end of a connection. Going on
        # would run the rest outside of any, and the commit would do nothing, and say nothing, for those who ran before.
        # What ended it goes to all of them.
        raise error
    savepoint.rollback()


def translated(error: BaseException) -> Exception:
    """Return the exception for a caller; a new one for each, since each is raised in a different task."""
    if isinstance(error, DataError | OverflowError | UnicodeEncodeError):
        # The database's words are left out: they may repeat the value.
        return UnstorableError("A value cannot be stored.").with_traceback(error.__traceback__)
    if isinstance(error, DBAPIError):
        # Not as its cause: a traceback would show what `problem_of` leaves out. Where it happened is kept.
        return StoreError(f"The database failed: {problem_of(error)}.").with_traceback(error.__traceback__)
    if isinstance(error, StopIteration):
        # A future refuses to carry it, and the caller would wait for ever (PEP 479 does the same).
        return RuntimeError("an operation raised StopIteration").with_traceback(error.__traceback__)
    if isinstance(error, Exception):
        return error
    return StoreError(f"The operation was interrupted by {type(error).__name__}.").with_traceback(
        error.__traceback__
    )
