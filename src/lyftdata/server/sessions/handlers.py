"""The interface that `Sessions` calls when Workers connect and disconnect."""

from lyftdata.server.sessions.session import Session


class SessionHandlers:
    """
    Does nothing; a subclass overrides what it needs.

    Called in the event loop. An exception from a handler is logged, and does not keep the session from beginning, breaking or ending.
    """

    def session_started(self, session: Session) -> None:
        """Handle a new session at this Server."""

    def session_broken(self, session: Session) -> None:
        """Handle a session whose poll was interrupted; its Worker may be back in a moment."""

    def ended(self, session: Session, why: str) -> None:
        """Handle the end of a session at this Server; `why` is a `SessionEnd` or a refusal code."""

    def presence_changed(self, worker_id: str, *, is_online: bool) -> None:
        """Handle a Worker that has come online or gone offline, at any Server."""
