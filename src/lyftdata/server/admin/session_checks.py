"""Checks, in the transaction that changes something for good, that the session which asks for it was not ended meanwhile."""

from lyftdata.core.actor import Actor
from lyftdata.core.errors import NotSignedInError
from lyftdata.core.records import AdminSessionRecord
from lyftdata.store import WriteTx
from lyftdata.store.tables import admin_sessions


def get_own_session(tx: WriteTx, actor: Actor) -> AdminSessionRecord:
    """
    Return the session in which an operator asks, as it is now.

    Persistence: who is thrown out must not leave a way in behind by a request that was let in before and took its time, such as a second
    factor or an API token of their own.

    Raises:
        NotSignedInError: It has ended.
    """
    session = admin_sessions.find_session(tx.conn, actor.session_id)
    if session is None or session.operator != actor.operator:
        raise NotSignedInError("The session has ended.", hint="lyftdata login")
    return session
