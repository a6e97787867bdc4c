"""Operators' sessions: signs in, identifies callers, lists and ends sessions."""

from collections.abc import Collection, Sequence

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import (
    LoginFailedError,
    NotFoundError,
    NotSignedInError,
    SecondFactorFailedError,
)
from lyftdata.core.lockout import Claim
from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.core.scopes import scope_of
from lyftdata.core.second_factor_policy import SecondFactorPolicy, lacks_second_factor, takes_second_factor
from lyftdata.core.secret import Secret
from lyftdata.core.sign_in_methods import SignInMethods
from lyftdata.core.text import clean_text
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.new_sessions import NewSessions, open_session
from lyftdata.server.admin.operator_budget import REQUEST_COST, OperatorBudget, session_digest
from lyftdata.server.admin.operator_rules import get_operator, subject_of
from lyftdata.server.admin.password_check import PasswordCheck, network_digest
from lyftdata.server.admin.second_factor_check import (
    SecondFactorCheck,
    SecondFactorChoices,
    SecondFactorProof,
)
from lyftdata.server.admin.second_factor_tickets import SecondFactorTickets, Ticket
from lyftdata.server.admin.session_uses import SessionUses
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, known_networks, second_factors, spent_assertions


class SignedIn(msgspec.Struct, frozen=True):
    """A new session: the bearer token and the device mark, to be returned once, and its record."""

    token: Secret
    device_mark: Secret
    session: AdminSessionRecord
    operator: OperatorRecord


class PasswordRight(msgspec.Struct, frozen=True):
    """A sign-in that still needs its second factor: what the browser keeps until then. It gives no access by itself."""

    ticket: str


class OperatorSessions:
    """
    Signs operators in and out.

    Args:
        store: Stores the sessions.
        password_check: Checks passwords and counts failures.
        device_marks: Issues what a browser or a command line keeps after a sign-in.
        network_key: 32 bytes that key the hashes of known networks.
        budget: How much work each operator may cause.
        new_sessions: Creates sessions.
        methods: How operators may sign in.
        second_factors: Checks second factors.
        tickets: Recognizes sign-ins that still need their second factor.
        second_factor_policy: Which operators must have a second factor.
        uses: Knows when a session was last used, and ends unused ones.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        password_check: PasswordCheck,
        device_marks: DeviceMarks,
        network_key: bytes,
        budget: OperatorBudget,
        new_sessions: NewSessions,
        methods: SignInMethods,
        second_factors: SecondFactorCheck,
        tickets: SecondFactorTickets,
        second_factor_policy: SecondFactorPolicy,
        uses: SessionUses,
        clock: Clock,
    ) -> None:
        self._store = store
        self._password_check = password_check
        self._device_marks = device_marks
        self._network_key = network_key
        self._budget = budget
        self._new_sessions = new_sessions
        self._methods = methods
        self._second_factors = second_factors
        self._tickets = tickets
        self._second_factor_policy = second_factor_policy
        self._uses = uses
        self._clock = clock

    async def sign_in(
        self,
        name: str,
        password: Secret,
        *,
        address: str,
        user_agent: str,
        code: Secret | None = None,
        unverified_mark: str = "",
    ) -> SignedIn:
        """
        Check name, password and, if the operator has one, the second factor, and open a session of twelve hours.

        Args:
            name: As sent.
            password: As sent.
            code: Of the second factor, if one was sent.
            address: IP address of the caller.
            user_agent: As sent by the caller.
            unverified_mark: The caller's device mark, if any; it only decides which failures count.

        Raises:
            PasswordSignInOffError: The settings allow no passwords; the password was not checked.
            LoginLockedError: Too many failures; the password was not checked.
            LoginFailedError: Name or password is wrong.
            SecondFactorRequiredError, SecondFactorFailedError: The password was right, but that is not enough.
        """
        operator, claim = await self._check_password(name, password, address, unverified_mark)
        factor = await self._second_factors.check(operator, SecondFactorProof(code=code), claim=claim)
        return await self._open_session(
            operator, address=address, user_agent=user_agent, device=claim.device, factor=factor
        )

    async def begin_sign_in(
        self, name: str, password: Secret, *, address: str, user_agent: str, unverified_mark: str = ""
    ) -> SignedIn | PasswordRight:
        """
        Do the same in two steps, as the pages do, for operators who have a second factor: the first step opens no session.

        Raises:
            PasswordSignInOffError, LoginLockedError, LoginFailedError: As for `sign_in`.
        """
        operator, claim = await self._check_password(name, password, address, unverified_mark)
        if await self._second_factors.is_wanted(operator):
            return PasswordRight(self._tickets.issue(operator, device=claim.device))
        return await self._open_session(
            operator, address=address, user_agent=user_agent, device=claim.device, factor=None
        )

    async def second_factor_choices(self, unverified_ticket: str) -> SecondFactorChoices:
        """
        Return the second factors that can complete a sign-in whose password was right, with a challenge for this sign-in alone.

        Raises:
            SecondFactorFailedError: Not begun in this browser, or too long ago.
        """
        ticket = self._tickets.open(unverified_ticket)
        return await self._second_factors.choices(ticket.operator, bound_to=_bound_to(ticket))

    async def finish_sign_in(
        self,
        unverified_ticket: str,
        *,
        code: Secret | None = None,
        passkey: Secret | None = None,
        address: str,
        user_agent: str,
    ) -> SignedIn:
        """
        Check the second factor of a sign-in whose password was right, and open a new session.

        Args:
            unverified_ticket: What the browser has kept.
            code: Of an app, or a recovery code.
            passkey: JSON of the browser's answer to `second_factor_choices`.
            address: IP address of the caller.
            user_agent: As sent by the caller.

        Raises:
            LoginLockedError: Too many failures; the second factor was not checked.
            SecondFactorFailedError, SecondFactorRequiredError: Not begun in this browser, or too long ago; wrong, or missing.
        """
        ticket = self._tickets.open(unverified_ticket)
        operator, claim = await self._password_check.look_up(ticket.operator, address)
        # Downgrade: a password that was reset in the meantime is not the one that was proved.
        if operator is None or self._tickets.password_tag(operator) != ticket.password_tag:
            raise SecondFactorFailedError("The password was changed meanwhile. Begin again.")
        claim = msgspec.structs.replace(claim, device=ticket.device)
        proof = SecondFactorProof(code=code, passkey=passkey, bound_to=_bound_to(ticket))
        factor = await self._second_factors.check(operator, proof, claim=claim)
        return await self._open_session(
            operator,
            address=address,
            user_agent=user_agent,
            device=ticket.device,
            factor=factor,
            ticket=ticket,
        )

    async def _check_password(
        self, name: str, password: Secret, address: str, unverified_mark: str
    ) -> tuple[OperatorRecord, Claim]:
        await self._password_check.check_enabled()
        # Truncated before it becomes a dictionary key: an unproven caller must not decide how much is stored.
        name = clean_text(name, 64)
        operator, claim = await self._password_check.look_up(name, address)
        device = self._device_marks.find_device(unverified_mark, operator)
        claim = msgspec.structs.replace(claim, device=device)
        right = await self._password_check.check(password, operator, claim)
        if not right or operator is None:
            raise LoginFailedError("Name or password is wrong.")
        return operator, claim

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

    async def _open_session(
        self,
        operator: OperatorRecord,
        *,
        address: str,
        user_agent: str,
        device: str | None,
        factor: str | None,
        ticket: Ticket | None = None,
    ) -> SignedIn:
        new = self._new_sessions.make(
            operator.name,
            address=address,
            user_agent=user_agent,
            authenticated_at=self._clock(),
            second_factor=factor,
            ends_by=operator.password_expires_at,
        )
        session = new.record
        network = network_digest(self._network_key, operator.name, address)

        def op(tx: WriteTx) -> None:
            # The password may have been reset while it was being checked: then this session must not open.
            if get_operator(tx.conn, operator.name).password_hash != operator.password_hash:
                raise LoginFailedError("Name or password is wrong.")
            if ticket is not None and not spent_assertions.spend_all(tx, {ticket.digest: ticket.expires_at}):
                raise SecondFactorFailedError("This sign-in was finished before. Begin again.")
            # A second factor that was set up in the meantime is required too.
            if (
                factor is None
                and takes_second_factor(operator)
                and second_factors.has_factor(tx.conn, operator.name)
            ):
                raise SecondFactorFailedError("A second factor was set up meanwhile. Begin again.")
            open_session(tx, session, operator, details=None if factor is None else {"second_factor": factor})
            known_networks.remember_network(tx, operator.name, network, now=session.created_at)

        await self._store.write(op)
        return SignedIn(new.token, self._device_marks.issue(operator, device=device), session, operator)


def _digest(unverified_token: str) -> bytes:
    return session_digest(unverified_token.encode("utf-8", "surrogateescape"))


def _bound_to(ticket: Ticket) -> str:
    return f"sign-in {ticket.operator} {ticket.digest.hex()}"
