"""The interface of an operation inside the writer's transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from lyftdata.core.records import AuditEvent
from lyftdata.store import audit_log
from lyftdata.store.changes import Change


class WriteTx:
    """A connection in the writer's transaction, the audit chain that goes on in it, and what is changed."""

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
        """Rows of the audit log that this operation owes; written at the end of the group, before the commit."""
        self._audit_key = audit_key
        self._owed = owed

    def audit(self, event: AuditEvent) -> None:
        """Append an event to the chain; it is durable together with what it tells of."""
        row, self.head = audit_log.link(event, head=self.head, key=self._audit_key)
        self.events.append(row)

    @property
    def unwritten(self) -> list[dict[str, Any]]:
        """
        Rows of the audit log that no query finds yet: of the operations before this one in its group, and of this one.

        Evasion: who counts what an operator has done must count these too. What is sent at once is one group.
        """
        return [*self._owed, *self.events]

    def changed(self, change: Change) -> None:
        """Say what this operation changes; published after the commit."""
        self.changes.append(change)
