"""Operators' sessions: identifies callers, lists and ends sessions. Sign-ins open them."""

from collections.abc import Collection, Sequence

from lyftdata.core.actor import Actor
from lyftdata.core.errors import (
    NotFoundError,
    NotSignedInError,
)
from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.core.scopes import scope_of
from lyftdata.core.second_factor_policy import SecondFactorPolicy, lacks_second_factor
from lyftdata.core.sign_in_methods import SignInMethods
from lyftdata.server.admin.operator_budget import REQUEST_COST, OperatorBudget, session_digest
from lyftdata.server.admin.operator_rules import get_operator, subject_of
from lyftdata.server.admin.session_uses import SessionUses
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions


class OperatorSessions:
    """
    Identifies operators by their sessions, and signs them out.

    Args:
        store: Stores the sessions.
        budget: How much work each operator may cause.
        methods: How operators may sign in.
        second_factor_policy: Which operators must have a second factor.
        uses: Knows when a session was last used, and ends unused ones.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        budget: OperatorBudget,
        methods: SignInMethods,
        second_factor_policy: SecondFactorPolicy,
        uses: SessionUses,
        clock: Clock,
    ) -> None:
        self._store = store
        self._budget = budget
        self._methods = methods
        self._second_factor_policy = second_factor_policy
        self._uses = uses
        self._clock = clock

    async def identify(
        self,
        unverified_token: str,
        *,
        address: str,
        cost: float = REQUEST_COST,
        is_background: bool = False,
    ) -> Actor:
        """
        Return the operator whose session token this is, and charge their budget for the request.

        Args:
            unverified_token: As received.
            address: IP address of the caller.
            cost: The minimum cost of the request (`admin.operator_budget`).
            is_background: Whether a page made the request by itself: an unused session ends, even if pages are open.

        Raises:
            NotSignedInError: Unknown, ended or revoked.
            TooManyRequestsError: The operator makes too many requests.
        """
        digest = _digest(unverified_token)
        session, operator = await self._find(digest)
        self._budget.remember_session(digest, operator.name)
        self._budget.take(operator.name, cost)
        if not is_background:
            self._uses.note(session, at=self._clock())
        return self._actor(session, operator, address)

    async def identify_again(self, unverified_token: str, *, address: str) -> Actor:
        """
        Identify the operator again once the body of their request has arrived: its sender decides how long that takes.

        Raises:
            NotSignedInError: Ended or revoked in the meantime.
        """
        return self._actor(*await self._find(_digest(unverified_token)), address)

    async def _find(self, digest: bytes) -> tuple[AdminSessionRecord, OperatorRecord]:
        found = await self._store.read(lambda conn: admin_sessions.find_with_operator(conn, digest))
        if (
            found is None
            or not self._is_open(found[0])
            or not self._methods.allows(found[1], now=self._clock())
        ):
            raise NotSignedInError("You are not signed in, or the session has ended.", hint="lyftdata login")
        return found

    def _actor(self, session: AdminSessionRecord, operator: OperatorRecord, address: str) -> Actor:
        return Actor(
            operator=operator.name,
            role=operator.role,
            session_id=session.id,
            address=address,
            must_change_password=operator.must_change_password,
            scope=scope_of(operator.scope),
            must_add_second_factor=lacks_second_factor(self._second_factor_policy, operator, session),
            authenticated_at=session.authenticated_at,
        )

    async def is_signed_in(self, actor: Actor) -> bool:
        """Return whether the session of a previously identified operator is still open."""
        session = await self._store.read(lambda conn: admin_sessions.find_session(conn, actor.session_id))
        return session is not None and self._is_open(session)

    async def ended_sessions(self, session_ids: Collection[str]) -> set[str]:
        """Return which of these sessions have ended, with one query."""
        now = self._clock()
        used_after = now - self._uses.idle_limit
        is_open = await self._store.read(
            lambda conn: admin_sessions.open_among(conn, session_ids, now=now, used_after=used_after)
        )
        return set(session_ids) - is_open

    async def list(self, operator: str | None) -> Sequence[AdminSessionRecord]:
        """Return the open sessions of one operator, or of all."""
        found = await self._store.read(lambda conn: admin_sessions.list_sessions(conn, operator=operator))
        return [session for session in found if self._is_open(session)]

    async def end_session(self, session_id: str, *, actor: Actor, of_any_operator: bool) -> None:
        """
        End one session.

        Raises:
            NotFoundError: No such session, or another operator's, if only one's own may be ended.
        """

        def op(tx: WriteTx) -> None:
            session = admin_sessions.find_session(tx.conn, session_id)
            if session is None or (session.operator != actor.operator and not of_any_operator):
                raise NotFoundError("session", session_id)
            admin_sessions.delete_session(tx, session_id)
            tx.audit(
                actor.audit_event("operator.session_ended", subject_of(session.operator), at=self._clock())
            )

        await self._store.write(op)

    async def end_all_sessions(self, *, actor: Actor, of: str | None = None) -> None:
        """End every session of an operator, by default of the caller, including the current one; raises NotFoundError."""
        name = actor.operator if of is None else of

        def op(tx: WriteTx) -> None:
            get_operator(tx.conn, name)
            admin_sessions.delete_sessions_of(tx, name)
            tx.audit(actor.audit_event("operator.sessions_ended", subject_of(name), at=self._clock()))

        await self._store.write(op)

    def _is_open(self, session: AdminSessionRecord) -> bool:
        now = self._clock()
        return now < session.expires_at and not self._uses.is_idle(session, now=now)


def _digest(unverified_token: str) -> bytes:
    return session_digest(unverified_token.encode("utf-8", "surrogateescape"))
