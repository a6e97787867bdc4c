"""Jobs that wait for the writer, and their results."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from lyftdata.store import audit_log
from lyftdata.store.changes import Change
from lyftdata.store.writer.transaction import WriteTx

T = TypeVar("T")

Together = Callable[[WriteTx, Sequence[Any]], Sequence[T]]
"""An operation on all items queued: returns one result for each, in order."""


class Job(Generic[T]):
    """An operation waiting for its turn, and its outcome."""

    def __init__(
        self,
        op: Callable[[WriteTx], T],
        loop: asyncio.AbstractEventLoop,
        *,
        together: Together[T] | None = None,
        item: object = None,
    ) -> None:
        self.op = op
        self.together = together
        """The same operation on many items at once, if that is cheaper; `item` is this job's."""
        self.item = item
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.result: T | None = None
        self.error: Exception | None = None
        self.changes: list[Change] = []

    def can_batch_with(self, other: "Job[Any]") -> bool:
        """Return whether this job and another can be run at once."""
        return self.together is not None and self.together == other.together and self.loop is other.loop

    def restart(self) -> None:
        """Discard the outcome, because it was rolled back."""
        self.result, self.error, self.changes = None, None, []

    def settle(self) -> None:
        """Pass the outcome to the waiting caller; call it in the event loop. Does nothing if the caller is gone."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # set together with error being None


class UncertainCommit:
    """A commit that may or may not have happened: where the audit chain ends if it did, and what it changed."""

    def __init__(self, head: audit_log.Head, jobs: list[Job[Any]]) -> None:
        self.head = head
        self.changes = [(job.loop, job.changes) for job in jobs if job.error is None and job.changes]
