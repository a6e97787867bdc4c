"""Handles Workers that connect and disconnect: history, decision log, peers, enrollment, live pages."""

from lyftdata.server.admin.decision_log import DecisionLog
from lyftdata.server.admission.returning import ReturningWorkers
from lyftdata.server.clock import Clock
from lyftdata.server.cluster.membership import TouchedWorkers
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.handlers import SessionHandlers
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.session import Session
from lyftdata.server.streams.events import Event, Events


class ServerSessionHandlers(SessionHandlers):
    """Passes each event on to the parts that store or publish it."""

    def __init__(
        self,
        *,
        session_log: SessionLog,
        decisions: DecisionLog | None,
        touched: TouchedWorkers,
        activity: ActivityLog,
        returning: ReturningWorkers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._session_log = session_log
        self._decisions = decisions
        self._touched = touched
        self._activity = activity
        self._returning = returning
        self._events = events
        self._clock = clock

    def session_started(self, session: Session) -> None:
        """Record the session in the history and, if decisions are logged, in the decision log."""
        self._session_log.session_started(session)
        # A load balancer may send each poll to another Server.
        if self._decisions is not None and not session.has_moved:
            self._decisions.worker_online(session)

    def session_broken(self, session: Session) -> None:
        """Publish the broken connection to peers."""
        self._touched.add(session.worker_id)

    def ended(self, session: Session, why: str) -> None:
        """Publish the end of a session to peers, and log it."""
        # Peers first: they must not count it as connected because logging its end failed.
        self._touched.add(session.worker_id)
        self._session_log.ended(session, why)
        if self._decisions is not None:
            self._decisions.worker_offline(session, why)

    def presence_changed(self, worker_id: str, *, is_online: bool) -> None:
        """Update the live pages, and record when the Worker was last seen."""
        if not is_online:
            self._activity.worker_left(worker_id, at=self._clock())
            self._returning.mark_accounted_for(worker_id)
        self._events.publish(Event("worker", worker_id))
