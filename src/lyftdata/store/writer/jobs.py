"""Jobs that wait for the writer, and their results."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from lyftdata.store import audit_log
from lyftdata.store.changes import Change
from lyftdata.store.writer.transaction import WriteTx

T = TypeVar("T")

Together = Callable[[WriteTx, Sequence[Any]], Sequence[T]]
"""An operation on as many items as have queued: a result for each, in their order."""


class Job(Generic[T]):
    """An operation that waits for its turn, and what came of it."""

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
        """The same for many at once, if that is cheaper; `item` is this one's."""
        self.item = item
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.result: T | None = None
        self.error: Exception | None = None
        self.changes: list[Change] = []

    def can_batch_with(self, other: "Job[Any]") -> bool:
        """Return whether this one and another may be run at once."""
        return self.together is not None and self.together == other.together and self.loop is other.loop

    def restart(self) -> None:
        """Forget what came of it: that was rolled back."""
        self.result, self.error, self.changes = None, None, []

    def settle(self) -> None:
        """Hand the outcome to the waiting caller; in the event loop. A caller that went away changes nothing."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # set together with error being None


class UncertainCommit:
    """A commit of which it is not known whether it happened: where the audit chain ends if it did, and what it changed."""

    def __init__(self, head: audit_log.Head, jobs: list[Job[Any]]) -> None:
        self.head = head
        self.changes = [(job.loop, job.changes) for job in jobs if job.error is None and job.changes]
