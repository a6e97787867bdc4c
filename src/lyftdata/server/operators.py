"""Operators: who they are, how they sign in, and their sessions."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec

from lyftdata.core.errors import ConflictError, LyftdataError, NotFoundError
from lyftdata.core.names import clean_text, parse_operator_name
from lyftdata.core.records import AdminSessionRecord, AuditEvent, OperatorRecord, Role
from lyftdata.core.secret import Secret
from lyftdata.log import get_logger
from lyftdata.server.actor import Actor
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.server.lockout import Lockout
from lyftdata.server.passwords import Passwords, check_new_password, check_replaces
from lyftdata.store import Store, WriteTx, admin_sessions, operators

_log = get_logger(__name__)

SESSION_LIFE = timedelta(hours=12)


class LoginFailedError(LyftdataError):
    """Name or password is wrong; which of them is not said."""

    code = "login_failed"


class LoginLockedError(LyftdataError):
    """
    Too many failures.

    Args:
        wait_s: Seconds until the next attempt is looked at.
    """

    code = "login_locked"

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many failed sign-ins. Try again in {wait_s} seconds.")
        self.wait_s = wait_s


class NotSignedInError(LyftdataError):
    """No session, or one that has ended."""

    code = "not_signed_in"


class SignedIn(msgspec.Struct, frozen=True):
    """A new session: the bearer token to hand out once, and its record."""

    token: Secret
    session: AdminSessionRecord
    operator: OperatorRecord


class Operators:
    """Signs operators in and out and manages their accounts."""

    def __init__(
        self,
        *,
        store: Store,
        passwords: Passwords,
        lockout: Lockout,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._random_bytes = random_bytes
        self._lockout = lockout
        self._beside: set[asyncio.Task[None]] = set()

    async def recall_sessions(self) -> None:
        """Learn from the open sessions from where operators sign in: a restart must not make them strangers."""
        for session in await self.sessions(None):
            self._lockout.remember(session.operator, session.address)

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

    async def sign_in(self, name: str, password: Secret, *, address: str, user_agent: str) -> SignedIn:
        """
        Check name and password and open a session of twelve hours.

        Raises:
            LoginLockedError: Too many failures; the password was not looked at.
            LoginFailedError: Name or password is wrong.
        """
        # Cut before it becomes a dictionary key: what a stranger sends must not decide how much is kept.
        name = clean_text(name, 64)
        operator = await self._store.read(lambda conn: operators.find_operator(conn, name))
        right = await self._check_password(name, password, operator, address=address)
        if not right or operator is None:
            raise LoginFailedError("Name or password is wrong.")
        return await self._open_session(operator, address=address, user_agent=user_agent)

    async def identify(self, unverified_token: str, *, address: str) -> Actor:
        """
        Return who stands behind a session token.

        Raises:
            NotSignedInError: Unknown, ended or revoked.
        """
        digest = hashlib.sha256(unverified_token.encode("utf-8", "surrogateescape")).digest()
        found = await self._store.read(lambda conn: admin_sessions.find_with_operator(conn, digest))
        if found is None or self._clock() >= found[0].expires_at:
            raise NotSignedInError("You are not signed in, or the session has ended.", hint="lyftdata login")
        session, operator = found
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
        if password is not None:
            check_new_password(password, operator=name)
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

    async def change_own_password(self, current: Secret, new: Secret, *, actor: Actor) -> None:
        """
        Change the password of whoever asks, and end their other sessions.

        Raises:
            LoginFailedError, LoginLockedError: The current password is wrong, or was guessed at too often.
            InvalidInputError: The new one breaks a rule.
        """
        check_new_password(new, operator=actor.operator)
        check_replaces(new, current)
        operator = await self.get(actor.operator)
        if not await self._check_password(actor.operator, current, operator, address=actor.address):
            raise LoginFailedError("The current password is wrong.")
        await self._set_password(operator, new, must_change=False, keep_session=actor.session_id, actor=actor)

    async def reset_password(self, name: str, password: Secret | None, *, actor: Actor) -> Secret:
        """Give an operator a new password (random unless given) and end all their sessions."""
        operator = await self.get(name)
        if password is not None:
            check_new_password(password, operator=name)
        chosen = password or Secret(random_id(self._random_bytes))
        await self._set_password(operator, chosen, must_change=True, keep_session=None, actor=actor)
        return chosen

    async def set_role(self, name: str, role: Role, *, actor: Actor) -> OperatorRecord:
        """
        Change a role.

        Raises:
            NotFoundError: No such operator.
            ConflictError: `last_admin`: nobody could undo it.
        """

        def op(tx: WriteTx) -> OperatorRecord:
            record = _get(tx, name)
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
        """End every session of an operator, by default of whoever asks, this one too; raises NotFoundError."""
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

    async def _check_password(
        self, name: str, password: Secret, operator: OperatorRecord | None, *, address: str
    ) -> bool:
        """Look at a password if it may be looked at, and count what comes of it; raises LoginLockedError."""
        attempt = self._lockout.begin(name, address, exists=operator is not None, now=self._clock())
        if attempt.wait_s:
            raise LoginLockedError(attempt.wait_s)
        try:
            password_hash = None if operator is None else operator.password_hash
            right = await self._passwords.matches(password, password_hash, is_known=attempt.is_known)
            if right:
                self._lockout.succeeded(attempt)
            elif self._lockout.failed(attempt, now=self._clock()) and operator is not None:
                self._tell_locked_out(operator.name, address)
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
            _log.error("a lockout was not written down", problem=str(task.exception()))

    async def aclose(self) -> None:
        """Wait for what is written beside the answers."""
        await asyncio.gather(*self._beside, return_exceptions=True)

    async def _open_session(self, operator: OperatorRecord, *, address: str, user_agent: str) -> SignedIn:
        now = self._clock()
        token = Secret("lyftdata_session_" + random_id(self._random_bytes) + random_id(self._random_bytes))
        session = AdminSessionRecord(
            id=random_id(self._random_bytes),
            operator=operator.name,
            digest=hashlib.sha256(token.reveal().encode()).digest(),
            created_at=now,
            expires_at=now + SESSION_LIFE,
            address=address,
            user_agent=clean_text(user_agent, 200),
        )
        actor = Actor(operator=operator.name, role=operator.role, session_id=session.id, address=address)

        def op(tx: WriteTx) -> None:
            # The password may have been reset while it was being checked: then this session must not open.
            if _get(tx, operator.name).password_hash != operator.password_hash:
                raise LoginFailedError("Name or password is wrong.")
            admin_sessions.delete_ended(tx, now)
            admin_sessions.insert_session(tx, session)
            tx.audit(actor.did("operator.signed_in", _subject(operator.name), at=now))

        await self._store.write(op)
        return SignedIn(token, session, operator)

    async def _set_password(
        self,
        operator: OperatorRecord,
        password: Secret,
        *,
        must_change: bool,
        keep_session: str | None,
        actor: Actor,
    ) -> None:
        password_hash = await self._passwords.hash(password)

        def op(tx: WriteTx) -> None:
            current = _get(tx, operator.name)
            # Whoever changes their own password has proved the one that was in force when they asked. If it was
            # reset meanwhile, because somebody else knew it, this must not undo that.
            if keep_session is not None and current.password_hash != operator.password_hash:
                raise LoginFailedError("The current password is wrong.")
            operators.replace_operator(
                tx,
                msgspec.structs.replace(
                    current, password_hash=password_hash, must_change_password=must_change
                ),
            )
            admin_sessions.delete_sessions_of(tx, operator.name, besides=keep_session)
            tx.audit(actor.did("operator.password_set", _subject(operator.name), at=self._clock()))

        await self._store.write(op)


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
