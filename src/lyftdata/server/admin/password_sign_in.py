"""Operators' sign-ins by password: with the second factor at once, or in two steps as the pages do it."""

import msgspec

from lyftdata.core.errors import LoginFailedError, SecondFactorFailedError
from lyftdata.core.lockout import Claim
from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.core.second_factor_policy import takes_second_factor
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.new_sessions import NewSessions, open_session
from lyftdata.server.admin.operator_rules import get_operator
from lyftdata.server.admin.password_check import PasswordCheck, network_digest
from lyftdata.server.admin.second_factor_check import (
    SecondFactorCheck,
    SecondFactorChoices,
    SecondFactorProof,
)
from lyftdata.server.admin.second_factor_tickets import SecondFactorTickets, Ticket
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import known_networks, second_factors, spent_assertions


class SignedIn(msgspec.Struct, frozen=True):
    """A new session: the bearer token and the device mark, to be returned once, and its record."""

    token: Secret
    device_mark: Secret
    session: AdminSessionRecord
    operator: OperatorRecord


class PasswordRight(msgspec.Struct, frozen=True):
    """A sign-in that still needs its second factor: what the browser keeps until then. It gives no access by itself."""

    ticket: str


class PasswordSignIn:
    """
    Opens sessions for operators who know their password.

    Args:
        store: Stores the sessions.
        password_check: Checks passwords and counts failures.
        device_marks: Issues what a browser or a command line keeps after a sign-in.
        network_key: 32 bytes that key the hashes of known networks.
        new_sessions: Creates sessions.
        second_factors: Checks second factors.
        tickets: Recognizes sign-ins that still need their second factor.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        password_check: PasswordCheck,
        device_marks: DeviceMarks,
        network_key: bytes,
        new_sessions: NewSessions,
        second_factors: SecondFactorCheck,
        tickets: SecondFactorTickets,
        clock: Clock,
    ) -> None:
        self._store = store
        self._password_check = password_check
        self._device_marks = device_marks
        self._network_key = network_key
        self._new_sessions = new_sessions
        self._second_factors = second_factors
        self._tickets = tickets
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


def _bound_to(ticket: Ticket) -> str:
    return f"sign-in {ticket.operator} {ticket.digest.hex()}"
