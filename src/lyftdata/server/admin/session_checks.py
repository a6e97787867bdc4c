"""Checks, in the transaction of a permanent change, that the caller's session has not ended in the meantime."""

from lyftdata.core.actor import Actor
from lyftdata.core.errors import NotSignedInError
from lyftdata.core.records import AdminSessionRecord
from lyftdata.store import WriteTx
from lyftdata.store.tables import admin_sessions


def get_own_session(tx: WriteTx, actor: Actor) -> AdminSessionRecord:
    """
    Return the caller's session in its current state.

    Persistence: an operator who is locked out must not leave access behind by a request that was authorized earlier and took its time, such as
    a second factor or an API token of their own.

    Raises:
        NotSignedInError: It has ended.
    """
    session = admin_sessions.find_session(tx.conn, actor.session_id)
    if session is None or session.operator != actor.operator:
        raise NotSignedInError("The session has ended.", hint="lyftdata login")
    return session
