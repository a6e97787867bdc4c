"""Operators: who they are, how they sign in, and their sessions."""

import asyncio
import hmac
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

import msgspec

from lyftdata.core.errors import (
    ConflictError,
    LoginFailedError,
    LoginLockedError,
    NotFoundError,
    NotSignedInError,
)
from lyftdata.core.lockout import Claim, Lockout
from lyftdata.core.log_events.server import LOCKOUT_NOT_RECORDED
from lyftdata.core.names import parse_operator_name
from lyftdata.core.rate_limit import network_of
from lyftdata.core.records import AdminSessionRecord, AuditEvent, OperatorRecord, Role
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.log import emit, get_logger
from lyftdata.server.actor import Actor
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.edits import check_unchanged
from lyftdata.server.admin.operator_budget import REQUEST_COST, OperatorBudget, session_digest
from lyftdata.server.admin.passwords import Passwords, check_new_password, check_replaces
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.server.known_secrets import KnownSecrets
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, known_networks, operators

_log = get_logger(__name__)

SESSION_LIFE = timedelta(hours=12)
_MAX_READ_OF_A_USER_AGENT = 1_000
NETWORK_KEY_PURPOSE = "known networks"


class SignedIn(msgspec.Struct, frozen=True):
    """A new session: the bearer token and the device mark to hand out once, and its record."""

    token: Secret
    device_mark: Secret
    session: AdminSessionRecord
    operator: OperatorRecord


class Operators:
    """
    Signs operators in and out and manages their accounts.

    Args:
        store: Where they are kept.
        passwords: Hashes and checks passwords.
        lockout: Counts failed sign-ins.
        device_marks: Makes what a browser or a command line keeps after a sign-in.
        network_key: 32 bytes that key the hashes of known networks.
        budget: How much work each operator may have the Server do.
        clock: Aware UTC time.
        random_bytes: Makes tokens and IDs.
    """

    def __init__(
        self,
        *,
        store: Store,
        passwords: Passwords,
        lockout: Lockout,
        device_marks: DeviceMarks,
        network_key: bytes,
        budget: OperatorBudget,
        known_secrets: KnownSecrets,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._budget = budget
        self._known_secrets = known_secrets
        self._passwords = passwords
        self._clock = clock
        self._random_bytes = random_bytes
        self._lockout = lockout
        self._device_marks = device_marks
        self._network_key = network_key
        self._beside: set[asyncio.Task[None]] = set()

    async def ensure_first(self, given: Secret | None, *, announce: Callable[[Secret], None]) -> None:
        """
        Make `admin` if there is no operator yet.

        Args:
            given: The password, or None for a random one.
            announce: Prints a random one. Called within the transaction, from the writer's thread: if it raises, no
                operator is made and the next start tries again. Printed and not stored can happen (the commit fails);
                stored and not printed cannot.

        Raises:
            Whatever `announce` raises.
        """
        if await self._store.read(lambda conn: operators.count_operators(conn) > 0):
            return
        password = given or Secret(random_id(self._random_bytes))
        record = await self._record("admin", Role.ADMIN, password, must_change=True)
        event = AuditEvent(
            at=record.created_at, actor="server", action="operator.created", subject="operator:admin"
        )

        def op(tx: WriteTx) -> None:
            # Of several Servers that start at once on an empty database, one makes it.
            if operators.count_operators(tx.conn) > 0:
                return
            operators.insert_operator(tx, record)
            tx.audit(event)
            if given is None:
                announce(password)

        await self._store.write(op)

    async def sign_in(
        self, name: str, password: Secret, *, address: str, user_agent: str, unverified_mark: str = ""
    ) -> SignedIn:
        """
        Check name and password and open a session of twelve hours.

        Args:
            name: As given.
            password: As given.
            address: IP address of the caller.
            user_agent: What the caller says it is.
            unverified_mark: The device mark that the caller has kept, if any; it only decides which failures count.

        Raises:
            LoginLockedError: Too many failures; the password was not looked at.
            LoginFailedError: Name or password is wrong.
        """
        # Cut before it becomes a dictionary key: what a stranger sends must not decide how much is kept.
        name = clean_text(name, 64)
        operator, claim = await self._look_up(name, address)
        device = self._device_marks.find_device(unverified_mark, operator)
        right = await self._check_password(password, operator, msgspec.structs.replace(claim, device=device))
        if not right or operator is None:
            raise LoginFailedError("Name or password is wrong.")
        return await self._open_session(operator, address=address, user_agent=user_agent, device=device)

    async def _look_up(self, name: str, address: str) -> tuple[OperatorRecord | None, Claim]:
        """Return the operator of a name, and what the lockout is to know of an attempt from an address."""
        now = self._clock()
        network = network_digest(self._network_key, name, address)
        # Both are asked for whether or not there is such an operator: the time must not tell.
        operator, is_known = await self._store.read(
            lambda conn: (
                operators.find_operator(conn, name),
                known_networks.is_known_network(conn, name, network, now=now),
            )
        )
        claim = Claim(
            name=name,
            address=address,
            exists=operator is not None,
            is_known_network=is_known,
            unlocks=0 if operator is None else operator.unlocks,
        )
        return operator, claim

    async def identify(self, unverified_token: str, *, address: str, cost: float = REQUEST_COST) -> Actor:
        """
        Return the operator whose session a token is, and take from their budget what the request costs.

        Args:
            unverified_token: As given.
            address: IP address of the caller.
            cost: What the request costs at least (`server.operator_budget`).

        Raises:
            NotSignedInError: Unknown, ended or revoked.
            TooManyRequestsError: The operator asks for too much.
        """
        digest = session_digest(unverified_token.encode("utf-8", "surrogateescape"))
        found = await self._store.read(lambda conn: admin_sessions.find_with_operator(conn, digest))
        if found is None or self._clock() >= found[0].expires_at:
            raise NotSignedInError("You are not signed in, or the session has ended.", hint="lyftdata login")
        session, operator = found
        self._budget.remember_session(digest, operator.name)
        self._budget.take(operator.name, cost)
        return Actor(
            operator=operator.name,
            role=operator.role,
            session_id=session.id,
            address=address,
            must_change_password=operator.must_change_password,
        )

    async def is_signed_in(self, actor: Actor) -> bool:
        """Return whether the session of somebody who was identified before is still open."""
        session = await self._store.read(lambda conn: admin_sessions.find_session(conn, actor.session_id))
        return session is not None and self._clock() < session.expires_at

    async def ended_sessions(self, session_ids: Collection[str]) -> set[str]:
        """Return which of these sessions are not open any more, by one look for all."""
        now = self._clock()
        is_open = await self._store.read(lambda conn: admin_sessions.open_among(conn, session_ids, now=now))
        return set(session_ids) - is_open

    async def get(self, name: str) -> OperatorRecord:
        """Return an operator; raises NotFoundError."""
        operator = await self._store.read(lambda conn: operators.find_operator(conn, name))
        if operator is None:
            raise NotFoundError("operator", name)
        return operator

    async def list(self) -> list[OperatorRecord]:
        """Return every operator, by name."""
        return await self._store.read(operators.all_operators)

    async def add(self, name: str, role: Role, password: Secret | None, *, actor: Actor) -> Secret:
        """
        Make an operator, with the password given or a random one, to be changed at the first sign-in.

        Returns:
            The password, to show once.

        Raises:
            InvalidInputError, ConflictError: The name or the password breaks its rule; `operator_name_taken`.
        """
        name = parse_operator_name(name)
        self._known_secrets.check("name", name)
        if password is not None:
            await asyncio.to_thread(check_new_password, password, operator=name)
        chosen = password or Secret(random_id(self._random_bytes))
        record = await self._record(name, role, chosen, must_change=True)

        def op(tx: WriteTx) -> None:
            operators.insert_operator(tx, record)
            tx.audit(
                actor.did(
                    "operator.created", _subject(name), at=record.created_at, details={"role": role.value}
                )
            )

        await self._store.write(op)
        return chosen

    async def change_own_password(
        self, current: Secret, new: Secret, *, actor: Actor, unverified_mark: str = ""
    ) -> Secret:
        """
        Change the password of the operator who asks, and end their other sessions and every device mark.

        Returns:
            A new device mark for the device that asks.

        Raises:
            LoginFailedError, LoginLockedError: The current password is wrong, or was guessed at too often.
            InvalidInputError: The new one breaks a rule.
        """
        operator = await self.check_password_change(current, new, actor=actor)
        changed = await self._set_password(
            operator, new, must_change=False, keep_session=actor.session_id, actor=actor
        )
        device = self._device_marks.find_device(unverified_mark, operator)
        return self._device_marks.issue(changed, device=device)

    async def check_password_change(
        self, current: Secret, new: Secret | None, *, actor: Actor
    ) -> OperatorRecord:
        """
        Check what an operator would change their password with, and change nothing.

        A wrong current password counts as a failed sign-in, and is locked out in the same way: this is no way to guess.

        Args:
            current: The password in force, as given.
            new: The new one; None if it is not known yet.
            actor: Who asks.

        Returns:
            The operator.

        Raises:
            LoginFailedError, LoginLockedError: The current password is wrong, or was guessed at too often.
            InvalidInputError: The new one breaks a rule.
        """
        if new is not None:
            await asyncio.to_thread(check_new_password, new, operator=actor.operator)
            check_replaces(new, current)
        operator, claim = await self._look_up(actor.operator, actor.address)
        # An open session is as good a mark as a device's: failures of others do not keep its operator from this.
        claim = msgspec.structs.replace(claim, device=f"session {actor.session_id}")
        if operator is None or not await self._check_password(current, operator, claim):
            raise LoginFailedError("The current password is wrong.")
        return operator

    async def reset_password(self, name: str, password: Secret | None, *, actor: Actor) -> Secret:
        """Give an operator a new password (random unless given), end all their sessions and marks, and unlock them."""
        operator = await self.get(name)
        if password is not None:
            await asyncio.to_thread(check_new_password, password, operator=name)
        chosen = password or Secret(random_id(self._random_bytes))
        await self._set_password(operator, chosen, must_change=True, keep_session=None, actor=actor)
        return chosen

    async def set_role(
        self, name: str, role: Role, *, expected: Role | None = None, actor: Actor
    ) -> OperatorRecord:
        """
        Change a role.

        Args:
            name: Whose.
            role: The new role.
            expected: The role as it was when this was decided; None does not ask.
            actor: Who does it.

        Raises:
            NotFoundError: No such operator.
            ConflictError: `last_admin`: no operator could undo it; `changed_meanwhile`.
        """

        def op(tx: WriteTx) -> OperatorRecord:
            record = _get(tx, name)
            check_unchanged(record, None if expected is None else {"role": expected})
            if role is not Role.ADMIN:
                _keep_an_admin(tx, record)
            changed = msgspec.structs.replace(record, role=role)
            operators.replace_operator(tx, changed)
            tx.audit(
                actor.did("operator.role_set", _subject(name), at=self._clock(), details={"role": role.value})
            )
            return changed

        return await self._store.write(op)

    async def delete(self, name: str, *, actor: Actor) -> None:
        """Remove an operator and end their sessions; raises as `set_role`."""

        def op(tx: WriteTx) -> None:
            _keep_an_admin(tx, _get(tx, name))
            admin_sessions.delete_sessions_of(tx, name)
            operators.delete_operator(tx, name)
            tx.audit(actor.did("operator.deleted", _subject(name), at=self._clock()))

        await self._store.write(op)

    async def sessions(self, operator: str | None) -> Sequence[AdminSessionRecord]:
        """Return the open sessions of one operator, or of all."""
        now = self._clock()
        found = await self._store.read(lambda conn: admin_sessions.list_sessions(conn, operator=operator))
        return [session for session in found if session.expires_at > now]

    async def end_session(self, session_id: str, *, actor: Actor, anybodys: bool) -> None:
        """
        End one session.

        Raises:
            NotFoundError: No such session, or another's where only one's own may be ended.
        """

        def op(tx: WriteTx) -> None:
            session = admin_sessions.find_session(tx.conn, session_id)
            if session is None or (session.operator != actor.operator and not anybodys):
                raise NotFoundError("session", session_id)
            admin_sessions.delete_session(tx, session_id)
            tx.audit(actor.did("operator.session_ended", _subject(session.operator), at=self._clock()))

        await self._store.write(op)

    async def end_all_sessions(self, *, actor: Actor, of: str | None = None) -> None:
        """End every session of an operator, by default of the caller, this one too; raises NotFoundError."""
        name = actor.operator if of is None else of

        def op(tx: WriteTx) -> None:
            _get(tx, name)
            admin_sessions.delete_sessions_of(tx, name)
            tx.audit(actor.did("operator.sessions_ended", _subject(name), at=self._clock()))

        await self._store.write(op)

    async def _record(self, name: str, role: Role, password: Secret, *, must_change: bool) -> OperatorRecord:
        return OperatorRecord(
            name=name,
            role=role,
            password_hash=await self._passwords.hash(password),
            must_change_password=must_change,
            created_at=self._clock(),
        )

    async def _check_password(self, password: Secret, operator: OperatorRecord | None, claim: Claim) -> bool:
        """Check a password if it may be looked at, and count the outcome; raises LoginLockedError."""
        attempt = self._lockout.begin(claim, now=self._clock())
        if attempt.wait_s:
            raise LoginLockedError(attempt.wait_s)
        try:
            password_hash = None if operator is None else operator.password_hash
            is_known = claim.is_known_network or claim.device is not None
            right = await self._passwords.matches(password, password_hash, is_known=is_known)
            if right:
                self._lockout.succeeded(attempt, now=self._clock())
            elif self._lockout.failed(attempt, now=self._clock()) and operator is not None:
                self._tell_locked_out(operator.name, claim.address)
            return right
        finally:
            self._lockout.end(attempt)

    def _tell_locked_out(self, name: str, address: str) -> None:
        """
        Write down that guessing was slowed down, beside the answer.

        Only what locks an operator that exists is audited: a stranger must not be able to fill the log. And the
        answer does not wait for it, or its time would tell which operators exist.
        """
        event = AuditEvent(
            at=self._clock(),
            actor="server",
            action="operator.locked_out",
            subject=_subject(name),
            address=address,
        )
        task = asyncio.create_task(self._store.write(lambda tx: tx.audit(event)))
        self._beside.add(task)
        task.add_done_callback(self._written_down)

    def _written_down(self, task: "asyncio.Task[None]") -> None:
        self._beside.discard(task)
        if not task.cancelled() and task.exception() is not None:
            emit(_log, LOCKOUT_NOT_RECORDED, problem=str(task.exception()))

    async def aclose(self) -> None:
        """Wait for what is written beside the answers."""
        await asyncio.gather(*self._beside, return_exceptions=True)

    async def _open_session(
        self, operator: OperatorRecord, *, address: str, user_agent: str, device: str | None
    ) -> SignedIn:
        now = self._clock()
        token = Secret("lyftdata_session_" + random_id(self._random_bytes) + random_id(self._random_bytes))
        session = AdminSessionRecord(
            id=random_id(self._random_bytes),
            operator=operator.name,
            digest=session_digest(token.reveal().encode()),
            created_at=now,
            expires_at=now + SESSION_LIFE,
            address=address,
            user_agent=clean_text(self._known_secrets.hide(user_agent[:_MAX_READ_OF_A_USER_AGENT]), 200),
        )
        actor = Actor(operator=operator.name, role=operator.role, session_id=session.id, address=address)
        network = network_digest(self._network_key, operator.name, address)

        def op(tx: WriteTx) -> None:
            # The password may have been reset while it was being checked: then this session must not open.
            if _get(tx, operator.name).password_hash != operator.password_hash:
                raise LoginFailedError("Name or password is wrong.")
            admin_sessions.delete_ended(tx, now)
            admin_sessions.insert_session(tx, session)
            known_networks.remember_network(tx, operator.name, network, now=now)
            tx.audit(actor.did("operator.signed_in", _subject(operator.name), at=now))

        await self._store.write(op)
        return SignedIn(token, self._device_marks.issue(operator, device=device), session, operator)

    async def _set_password(
        self,
        operator: OperatorRecord,
        password: Secret,
        *,
        must_change: bool,
        keep_session: str | None,
        actor: Actor,
    ) -> OperatorRecord:
        password_hash = await self._passwords.hash(password)

        def op(tx: WriteTx) -> OperatorRecord:
            current = _get(tx, operator.name)
            # Anyone who changes their own password has proved the one that was in force when they asked. If it was
            # reset meanwhile, because somebody else knew it, this must not undo that.
            if keep_session is not None and current.password_hash != operator.password_hash:
                raise LoginFailedError("The current password is wrong.")
            changed = msgspec.structs.replace(
                current,
                password_hash=password_hash,
                must_change_password=must_change,
                # Nobody else's guesses keep out an operator who was given a new password.
                unlocks=current.unlocks + (keep_session is None),
            )
            operators.replace_operator(tx, changed)
            admin_sessions.delete_sessions_of(tx, operator.name, besides=keep_session)
            tx.audit(actor.did("operator.password_set", _subject(operator.name), at=self._clock()))
            return changed

        return await self._store.write(op)


def network_digest(key: bytes, operator: str, address: str) -> bytes:
    """Return the keyed hash by which the network of an address is kept for an operator."""
    text = f"{operator}\0{network_of(address)}"
    return hmac.digest(key, text.encode("utf-8", "surrogateescape"), "sha256")[:16]


def _get(tx: WriteTx, name: str) -> OperatorRecord:
    record = operators.find_operator(tx.conn, name)
    if record is None:
        raise NotFoundError("operator", name)
    return record


def _keep_an_admin(tx: WriteTx, record: OperatorRecord) -> None:
    admins = [o for o in operators.all_operators(tx.conn) if o.role is Role.ADMIN]
    if admins == [record]:
        raise ConflictError(
            "last_admin", f"'{record.name}' is the last admin.", hint="Make another admin first."
        )


def _subject(name: str) -> str:
    return f"operator:{name}"
