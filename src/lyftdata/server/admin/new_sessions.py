"""Makes operators' sessions, whichever way they sign in: always a new ID and a new token."""

from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.server.admin.operator_budget import session_digest
from lyftdata.server.admin.operators import subject_of
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.store import WriteTx
from lyftdata.store.tables import admin_sessions

SESSION_LIFE = timedelta(hours=12)
_MAX_READ_OF_A_USER_AGENT = 1_000


class NewSession(msgspec.Struct, frozen=True):
    """A session that is not stored yet, and its token."""

    token: Secret
    record: AdminSessionRecord


class NewSessions:
    """
    Makes sessions.

    Args:
        known_secrets: Hidden where a caller has put one.
        clock: Aware UTC time.
        random_bytes: Makes tokens and IDs.
    """

    def __init__(self, *, known_secrets: KnownSecrets, clock: Clock, random_bytes: RandomBytes) -> None:
        self._known_secrets = known_secrets
        self._clock = clock
        self._random_bytes = random_bytes

    def make(
        self,
        operator: str,
        *,
        address: str,
        user_agent: str,
        authenticated_at: datetime | None,
        second_factor: str | None = None,
        ends_by: datetime | None = None,
        issuer_session: str | None = None,
    ) -> NewSession:
        """
        Return a session of twelve hours.

        Args:
            operator: Whose.
            address: IP address of the caller.
            user_agent: What the caller says it is.
            authenticated_at: When the operator has proved who they are; None if that is not known.
            second_factor: By which second factor the operator was recognised, if any.
            ends_by: When it ends at the latest.
            issuer_session: The session at the issuer that it is opened by (`sid`).
        """
        now = self._clock()
        # Session fixation: nothing that the caller has sent becomes a part of it.
        token = self.make_token()
        ends_at = now + SESSION_LIFE
        record = AdminSessionRecord(
            # Hexadecimal: one of base64url may begin with a dash, which `operators revoke-session ID` would take for an option.
            id=self._random_bytes(16).hex(),
            operator=operator,
            digest=session_digest(token.reveal().encode()),
            created_at=now,
            expires_at=ends_at if ends_by is None else min(ends_at, ends_by),
            address=address,
            user_agent=clean_text(self._known_secrets.hide(user_agent[:_MAX_READ_OF_A_USER_AGENT]), 200),
            issuer_session=issuer_session,
            authenticated_at=authenticated_at,
            second_factor=second_factor,
        )
        return NewSession(token, record)

    def make_token(self) -> Secret:
        """Return a new token; its digest is what is stored."""
        return Secret("lyftdata_session_" + random_id(self._random_bytes) + random_id(self._random_bytes))


def open_session(
    tx: WriteTx,
    session: AdminSessionRecord,
    operator: OperatorRecord,
    *,
    details: dict[str, str] | None = None,
) -> None:
    """Store a session, drop those that have ended, and audit the sign-in."""
    admin_sessions.delete_ended(tx, session.created_at)
    admin_sessions.insert_session(tx, session)
    actor = Actor(operator=operator.name, role=operator.role, session_id=session.id, address=session.address)
    tx.audit(
        actor.audit_event(
            "operator.signed_in", subject_of(operator.name), at=session.created_at, details=details
        )
    )
