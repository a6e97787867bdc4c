"""Creates operators' sessions, for every way of signing in: always with a new ID and a new token."""

from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.server.admin.operator_budget import session_digest
from lyftdata.server.admin.operator_rules import subject_of
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.store import WriteTx
from lyftdata.store.tables import admin_sessions

SESSION_LIFE = timedelta(hours=12)
_MAX_READ_OF_A_USER_AGENT = 1_000


class NewSession(msgspec.Struct, frozen=True):
    """A session that is not yet stored, and its token."""

    token: Secret
    record: AdminSessionRecord


class NewSessions:
    """
    Creates sessions.

    Args:
        known_secrets: Redacted where a caller has put one.
        clock: Aware UTC time.
        random_bytes: Generates tokens and IDs.
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
        Create a session of twelve hours.

        Args:
            operator: The session's operator.
            address: IP address of the caller.
            user_agent: As sent by the caller.
            authenticated_at: When the operator authenticated; None if that is not known.
            second_factor: The second factor that was used, if any.
            ends_by: The latest time at which it may end.
            issuer_session: The session at the issuer (`sid`) with which it was opened.
        """
        now = self._clock()
        # Session fixation: nothing that the caller has sent becomes part of the session.
        token = self.make_token()
        ends_at = now + SESSION_LIFE
        record = AdminSessionRecord(
            # Hexadecimal: base64url may begin with a dash, which `operators revoke-session ID` would take for an option.
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
        """Return a new token; only its digest is stored."""
        return Secret("lyftdata_session_" + random_id(self._random_bytes) + random_id(self._random_bytes))


def open_session(
    tx: WriteTx,
    session: AdminSessionRecord,
    operator: OperatorRecord,
    *,
    details: dict[str, str] | None = None,
) -> None:
    """Store a session, delete expired ones, and audit the sign-in."""
    admin_sessions.delete_ended(tx, session.created_at)
    admin_sessions.insert_session(tx, session)
    actor = Actor(operator=operator.name, role=operator.role, session_id=session.id, address=session.address)
    tx.audit(
        actor.audit_event(
            "operator.signed_in", subject_of(operator.name), at=session.created_at, details=details
        )
    )
