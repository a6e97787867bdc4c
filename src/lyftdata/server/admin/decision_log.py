"""
Logs decisions for a SIEM: every audit event, and Workers connecting and disconnecting.

This reads the audit log rather than this Server's actions: so it includes what peers and commands on the host decide, in the
order and with the numbers of the audit log, and nothing that was rolled back. A missing number is a missing line.
"""

import functools

from lyftdata.core.log_events.server import DECISION, WORKER_OFFLINE, WORKER_ONLINE
from lyftdata.core.records import ChainedAuditEvent
from lyftdata.log import emit, get_logger
from lyftdata.server.sessions.session import Session
from lyftdata.store import Store, audit_log

_log = get_logger(__name__)

_BATCH = 500


class DecisionLog:
    """
    Follows the audit log.

    Args:
        store: Holds the audit log.
        after: The number of the last event that was already logged.
    """

    def __init__(self, store: Store, *, after: int) -> None:
        self._store = store
        self._last = after

    async def follow(self) -> None:
        """Log the events added since the last call."""
        while True:
            read = functools.partial(audit_log.events_after, after=self._last, limit=_BATCH)
            batch = await self._store.read(read)
            for event in batch:
                self._log_event(event)
                self._last = event.number
            if len(batch) < _BATCH:
                return

    def _log_event(self, chained: ChainedAuditEvent) -> None:
        event = chained.event
        emit(
            _log,
            DECISION,
            number=chained.number,
            at=event.at.isoformat(),
            action=event.action,
            actor=event.actor,
            subject=event.subject,
            address=event.address,
            details=event.details,
        )

    def worker_online(self, session: Session) -> None:
        """Log that a Worker has connected; not that its session has moved here from a peer."""
        emit(_log, WORKER_ONLINE, worker_id=session.worker_id, address=session.boot.address)

    def worker_offline(self, session: Session, why: str) -> None:
        """Log that a Worker is no longer connected, and why."""
        emit(_log, WORKER_OFFLINE, worker_id=session.worker_id, address=session.boot.address, reason=why)
