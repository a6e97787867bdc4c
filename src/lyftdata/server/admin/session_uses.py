"""
Records when operators' sessions were last used: collected in memory, written seldom; an unused session ends.

The stored time may be older than the last use by a twentieth of the limit, so a session may end that much early.
"""

from datetime import datetime, timedelta

from lyftdata.core.records import AdminSessionRecord
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions

_WRITTEN_A_LIMIT = 20


class SessionUses:
    """
    The last uses that are not yet written, by session ID.

    Args:
        store: Stores the sessions.
        idle_limit: How long after its last use a session ends.
    """

    def __init__(self, *, store: Store, idle_limit: timedelta) -> None:
        self.idle_limit = idle_limit
        self._store = store
        self._pending: dict[str, datetime] = {}

    def note(self, session: AdminSessionRecord, *, at: datetime) -> None:
        """Record a use by a person or their program, if the stored one is too old."""
        if at - session.last_used_at >= self.idle_limit / _WRITTEN_A_LIMIT:
            self._pending[session.id] = at

    def is_idle(self, session: AdminSessionRecord, *, now: datetime) -> bool:
        """Return whether a session has ended because it was not used for too long."""
        used_at = max(session.last_used_at, self._pending.get(session.id, session.last_used_at))
        return now - used_at >= self.idle_limit

    async def flush(self) -> None:
        """Write what is pending; what could not be written stays pending."""
        if not self._pending:
            return
        written = dict(self._pending)

        def op(tx: WriteTx) -> None:
            admin_sessions.touch_used(tx, written)

        await self._store.write(op)
        self._pending = {session: at for session, at in self._pending.items() if written.get(session) != at}
