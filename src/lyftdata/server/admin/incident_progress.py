"""The progress of a cut-off: which of its Workers are disconnected, and which have come back, with which key."""

from collections import Counter
from datetime import datetime

from lyftdata.core.records import ChainedAuditEvent
from lyftdata.server.admin.schemas.incidents import CutOffProgress
from lyftdata.server.admission.directory import Directory
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session, key_of


class CutOffTracker:
    """Compares the audit event of a cut-off with the Workers connected now, at any Server."""

    def __init__(self, *, directory: Directory, sessions: Sessions) -> None:
        self._directory = directory
        self._sessions = sessions

    def progress(self, chained: ChainedAuditEvent) -> CutOffProgress:
        """Return the progress of the cut-off recorded in an audit event."""
        event, details = chained.event, chained.event.details
        ids = [*details["workers"].split(), *details["by_key"].split()]
        still = [worker_id for worker_id in ids if self._is_still_connected(worker_id, event.at)]
        back = {
            worker_id: session for worker_id in ids if (session := self._session_since(worker_id, event.at))
        }
        entries = {worker_id: self._directory.find_worker(worker_id) for worker_id in ids}
        return CutOffProgress(
            number=chained.number,
            at=event.at,
            actor=event.actor,
            subject=event.subject,
            since=datetime.fromisoformat(details["since"]) if details["since"] else None,
            action=details["action"],
            key_revoked=details["key"] == "revoked",
            workers=len(ids),
            still_connected=len(still),
            back=len(back),
            worker_ids=ids,
            still_connected_ids=still,
            back_by_key=dict(Counter(self._key_name(session) for session in back.values()).most_common()),
            not_back_ids=[w for w in ids if w not in back and entries[w] is not None],
            disabled=sum(entry is not None and not entry.enabled for entry in entries.values()),
        )

    def _is_still_connected(self, worker_id: str, cut_off_at: datetime) -> bool:
        """Return whether a Worker still has the session that it had when it was cut off, not one that began later."""
        session = self._sessions.find(worker_id)
        return session is not None and session.since <= cut_off_at

    def _session_since(self, worker_id: str, cut_off_at: datetime) -> Session | None:
        session = self._sessions.find(worker_id)
        return session if session is not None and session.since > cut_off_at else None

    def _key_name(self, session: Session) -> str:
        kind, value = key_of(session)
        key = self._directory.find_api_key(value) if kind == "key" else None
        return "" if key is None else key.name
