"""
Prunes events of the audit log that are older than the retention period.

They are removed up to a signed checkpoint, whose tree represents them from then on, and the event `audit_log.pruned` in the same
transaction records that. A gap that no such event names is found by every check.
"""

from datetime import timedelta

from lyftdata.core.audit import PRUNED
from lyftdata.core.records import AuditEvent
from lyftdata.server.admin.audit_checkpoints import AuditCheckpoints
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx, audit_log
from lyftdata.store.tables import audit_checkpoints

# Per transaction, which others wait for; more if two checkpoints are further apart.
_MAX_AT_ONCE = 20_000


class AuditRetention:
    """
    Prunes old events.

    Args:
        store: Whose audit log.
        checkpoints: Knows whether the log is the one that was signed.
        keep: The retention period.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, checkpoints: AuditCheckpoints, keep: timedelta, clock: Clock) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._keep = keep
        self._clock = clock

    async def prune(self) -> None:
        """Prune old events; do nothing if the log is not sound, since it is then evidence."""
        while (
            self._store.audit_is_intact
            and not self._checkpoints.problem
            and await self._store.write(self._prune_some)
        ):
            pass

    def _prune_some(self, tx: WriteTx) -> bool:
        """Remove events up to one checkpoint; return whether there was one. Another Server may have just done it."""
        conn = tx.conn
        removed = audit_log.removed_through(conn)
        too_old = audit_log.last_older_than(conn, self._clock() - self._keep)
        record = audit_checkpoints.last_in(
            conn, after=removed, up_to=min(too_old, removed + _MAX_AT_ONCE)
        ) or audit_checkpoints.last_in(conn, after=removed, up_to=too_old)
        # Never the newest one: later events are verified from there on.
        if record is None or record.size >= self._checkpoints.signed_length:
            return False
        tree = self._checkpoints.tree_of(record)
        audit_log.remove_through(conn, record.size)
        audit_checkpoints.remove_before(tx, record.size)
        details = {"through": str(record.size), "root": tree.root().hex()}
        tx.audit(
            AuditEvent(at=self._clock(), actor="server", action=PRUNED, subject="audit_log", details=details)
        )
        return True
