"""The interface of an operation inside the writer's transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from lyftdata.core.records import AuditEvent
from lyftdata.store import audit_log
from lyftdata.store.changes import Change


class WriteTx:
    """A connection in the writer's transaction, the audit chain to append to, and the changes made."""

    def __init__(
        self,
        conn: Connection,
        *,
        head: audit_log.Head,
        audit_key: bytes,
        owed: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.conn = conn
        self.changes: list[Change] = []
        self.head = head
        self.events: list[dict[str, Any]] = []
        """Audit log rows that this operation has produced; written at the end of the batch, before the commit."""
        self._audit_key = audit_key
        self._owed = owed

    def audit(self, event: AuditEvent) -> None:
        """Append an event to the chain; it becomes durable together with the changes it describes."""
        row, self.head = audit_log.link(event, head=self.head, key=self._audit_key)
        self.events.append(row)

    @property
    def unwritten(self) -> list[dict[str, Any]]:
        """
        Audit log rows that no query finds yet: of earlier operations in the batch, and of this one.

        Evasion: counting an operator's actions must include these. Requests sent at once end up in one batch.
        """
        return [*self._owed, *self.events]

    def changed(self, change: Change) -> None:
        """Record a change made by this operation; published after the commit."""
        self.changes.append(change)
