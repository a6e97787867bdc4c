"""The protocol of the methods that `Sessions` calls when Workers connect and disconnect."""

from lyftdata.server.sessions.session import Session


class SessionHandlers:
    """
    Does nothing; a subclass overrides what it needs.

    Called in the event loop. What a handler raises is logged, and the session begins, breaks off or ends all the same.
    """

    def session_started(self, session: Session) -> None:
        """Handle a new session at this Server."""

    def session_broken(self, session: Session) -> None:
        """Handle a session whose poll was cut; its Worker may be back in a moment."""

    def ended(self, session: Session, why: str) -> None:
        """Handle the end of a session at this Server; `why` is a `SessionEnd` or a refusal's code."""

    def presence_changed(self, worker_id: str, *, is_online: bool) -> None:
        """Handle a Worker that has come online or gone offline, at any Server."""
