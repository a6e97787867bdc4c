"""Operators' accounts, their roles and passwords."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import AddOperator, Operation, ResetPassword, SetRole, SetScope
from lyftdata.core.errors import (
    ConflictError,
    LoginFailedError,
    NotFoundError,
)
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import format_labels, parse_operator_name
from lyftdata.core.records import AuditEvent, Labels, OperatorRecord, Role
from lyftdata.core.scopes import parse_scope, scope_of
from lyftdata.core.secret import Secret
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.edits import check_unchanged
from lyftdata.server.admin.password_check import PasswordCheck, check_has_password
from lyftdata.server.admin.passwords import Passwords, check_new_password, check_replaces
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, api_tokens, known_networks, operators


class Operators:
    """
    Manages operators' accounts.

    Args:
        store: Stores them.
        passwords: Hashes passwords.
        password_check: Checks current passwords and counts failures.
        device_marks: Issues what a browser or a command line keeps after a sign-in.
        gate: Blocks what a second operator must confirm.
        clock: Aware UTC time.
        random_bytes: Generates tokens and IDs.
    """

    def __init__(
        self,
        *,
        store: Store,
        passwords: Passwords,
        password_check: PasswordCheck,
        device_marks: DeviceMarks,
        known_secrets: KnownSecrets,
        gate: SecondOperatorGate,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._known_secrets = known_secrets
        self._gate = gate
        self._passwords = passwords
        self._clock = clock
        self._random_bytes = random_bytes
        self._password_check = password_check
        self._device_marks = device_marks

    async def ensure_first(self, given: Secret | None, *, announce: Callable[[Secret], None]) -> None:
        """
        Create `admin` if there is no operator yet.

        Args:
            given: The password, or None for a random one.
            announce: Prints a random password. Called within the transaction, in the writer's thread: if it raises, no
                operator is created and the next start tries again. It may be printed but not stored (if the commit fails),
                but never stored and not printed.

        Raises:
            Exceptions of `announce`.
        """
        if await self._store.read(lambda conn: operators.count_operators(conn) > 0):
            return
        password = given or Secret(random_id(self._random_bytes))
        record = await self._record("admin", Role.ADMIN, password, must_change=True)
        event = AuditEvent(
            at=record.created_at, actor="server", action="operator.created", subject="operator:admin"
        )

        def op(tx: WriteTx) -> None:
            # If several Servers start at once on an empty database, one of them creates it.
            if operators.count_operators(tx.conn) > 0:
                return
            operators.insert_operator(tx, record)
            tx.audit(event)
            if given is None:
                announce(password)

        await self._store.write(op)

    async def get(self, name: str) -> OperatorRecord:
        """Return an operator; raises NotFoundError."""
        operator = await self._store.read(lambda conn: operators.find_operator(conn, name))
        if operator is None:
            raise NotFoundError("operator", name)
        return operator

    async def list(self) -> list[OperatorRecord]:
        """Return every operator, by name."""
        return await self._store.read(operators.all_operators)

    async def has_anyone_signed_in(self) -> bool:
        """Return whether anyone has ever signed in: until then, the first password of `admin` is the only way to sign in."""

        def ask(conn: Connection) -> bool:
            records = operators.all_operators(conn)
            is_untouched = [(o.name, o.must_change_password, o.unlocks) for o in records] == [
                ("admin", True, 0)
            ]
            return not is_untouched or known_networks.has_any(conn)

        return await self._store.read(ask)

    async def add(
        self,
        name: str,
        role: Role,
        password: Secret | None,
        *,
        scope: Mapping[str, str] | None = None,
        actor: Actor,
    ) -> Secret:
        """
        Create an operator, with the given password or a random one, which must be changed at the first sign-in.

        Args:
            name: 1 to 64 lower-case letters, digits, `.`, `-`, `_`; unique.
            role: What they may do.
            password: None for a random one.
            scope: Labels of the Workers that they are limited to; None for no limit.
            actor: Who does it.

        Returns:
            The password, to show once.

        Raises:
            InvalidInputError, ConflictError: The name or the password is invalid; `operator_name_taken`.
            SecondOperatorRequiredError: A second operator must confirm it.
        """
        name = parse_operator_name(name)
        self._known_secrets.check("name", name)
        if password is not None:
            await asyncio.to_thread(check_new_password, password, operator=name)
        chosen = password or Secret(random_id(self._random_bytes))
        labels = self._read_scope(scope)
        record = msgspec.structs.replace(
            await self._record(name, role, chosen, must_change=True), scope=labels
        )
        details = {"role": role.value} | ({} if labels is None else {"scope": format_labels(labels)})

        def op(tx: WriteTx) -> None:
            if operators.find_operator(tx.conn, name) is None:
                asked = AddOperator(name=name, role=role, scope=labels)
                self._gate.check(tx, asked, actor=actor, has_secret=password is not None)
            operators.insert_operator(tx, record)
            tx.audit(
                actor.audit_event("operator.created", subject_of(name), at=record.created_at, details=details)
            )

        async with self._gate.asking(actor):
            await self._store.write(op)
        return chosen

    async def change_own_password(
        self, current: Secret, new: Secret, *, actor: Actor, unverified_mark: str = ""
    ) -> Secret:
        """
        Change the password of the calling operator, and end their other sessions and all device marks.

        Returns:
            A new device mark for the calling device.

        Raises:
            LoginFailedError, LoginLockedError: The current password is wrong, or there were too many failures.
            InvalidInputError: The new one violates a rule.
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
        Check the input for a password change, and change nothing.

        A wrong current password counts as a failed sign-in, and leads to the same lockout: this must not be a way to guess.

        Args:
            current: The current password, as sent.
            new: The new one; None if it is not known yet.
            actor: The caller.

        Returns:
            The operator.

        Raises:
            LoginFailedError, LoginLockedError: The current password is wrong, or there were too many failures.
            InvalidInputError: The new one violates a rule.
        """
        if new is not None:
            await asyncio.to_thread(check_new_password, new, operator=actor.operator)
            check_replaces(new, current)
        operator, _ = await self._password_check.check_own(current, actor=actor)
        return operator

    async def reset_password(self, name: str, password: Secret | None, *, actor: Actor) -> Secret:
        """
        Set an operator's password (random by default), and unlock them.

        All of their sessions and device marks end, and their API tokens are revoked: anyone who knew the old password may have
        issued one.
        """
        operator = await self.get(name)
        check_has_password(operator)
        if password is not None:
            await asyncio.to_thread(check_new_password, password, operator=name)
        chosen = password or Secret(random_id(self._random_bytes))
        asked = ResetPassword(name=name, created_at=operator.created_at)
        await self._set_password(
            operator,
            chosen,
            must_change=True,
            keep_session=None,
            actor=actor,
            asked=asked,
            is_given=password is not None,
        )
        return chosen

    async def set_role(
        self, name: str, role: Role, *, expected: Role | None = None, actor: Actor
    ) -> OperatorRecord:
        """
        Change a role.

        Args:
            name: The operator.
            role: The new role.
            expected: The role that the caller saw; None skips the check.
            actor: Who does it.

        Raises:
            NotFoundError: No such operator.
            ConflictError: `last_admin`: no operator could undo it; `second_operator_needed`; `changed_meanwhile`; `role_from_issuer`: the
             role rules decide.
            SecondOperatorRequiredError: A second operator must confirm that they become an admin.
        """

        def op(tx: WriteTx) -> OperatorRecord:
            record = get_operator(tx, name)
            _check_local(record)
            check_unchanged(record, None if expected is None else {"role": expected})
            if role is not Role.ADMIN:
                _check_not_last_admin(tx, record)
                self._gate.check_enough_left(tx, name)
            elif record.role is not role:
                asked = SetRole(name=name, created_at=record.created_at, role=role, scope=record.scope)
                self._gate.check(tx, asked, actor=actor)
            else:
                self._gate.pass_by(actor)
            changed = msgspec.structs.replace(record, role=role)
            operators.replace_operator(tx, changed)
            tx.audit(
                actor.audit_event(
                    "operator.role_set", subject_of(name), at=self._clock(), details={"role": role.value}
                )
            )
            return changed

        async with self._gate.asking(actor):
            return await self._store.write(op)

    def _read_scope(self, scope: Mapping[str, str] | None) -> Labels | None:
        if scope is None:
            return None
        labels = parse_scope(scope)
        self._known_secrets.check_labels("scope", labels)
        return labels

    async def set_scope(self, name: str, scope: Mapping[str, str] | None, *, actor: Actor) -> OperatorRecord:
        """
        Limit an operator to the Workers with certain labels, or end the limit; their sessions end.

        Args:
            name: The operator.
            scope: The labels; None for no limit.
            actor: Who does it.

        Raises:
            InvalidInputError: No labels, or an invalid one.
            NotFoundError: No such operator.
            ConflictError: `last_admin`; `second_operator_needed`; `role_from_issuer`: the role rules decide.
            SecondOperatorRequiredError: A second operator must confirm that the limit is removed or widened.
        """
        labels = self._read_scope(scope)

        def op(tx: WriteTx) -> OperatorRecord:
            record = get_operator(tx, name)
            _check_local(record)
            if labels is not None:
                _check_not_last_admin(tx, record)
                self._gate.check_enough_left(tx, name)
            if record.scope == labels:
                return record
            if not scope_of(labels).is_within(scope_of(record.scope)):
                asked = SetScope(
                    name=name,
                    created_at=record.created_at,
                    scope=labels,
                    was=record.scope,
                    role=record.role,
                )
                self._gate.check(tx, asked, actor=actor)
            else:
                self._gate.pass_by(actor)
            changed = msgspec.structs.replace(record, scope=labels)
            operators.replace_operator(tx, changed)
            # Open pages and streams that began with the old scope end at every Server.
            admin_sessions.delete_sessions_of(tx, name)
            details = {"scope": format_labels(labels or {})}
            tx.audit(
                actor.audit_event("operator.scope_set", subject_of(name), at=self._clock(), details=details)
            )
            return changed

        async with self._gate.asking(actor):
            return await self._store.write(op)

    async def delete(self, name: str, *, actor: Actor) -> None:
        """Remove an operator, end their sessions and revoke their API tokens; raises like `set_role`."""

        def op(tx: WriteTx) -> None:
            _check_not_last_admin(tx, get_operator(tx, name))
            self._gate.check_enough_left(tx, name)
            admin_sessions.delete_sessions_of(tx, name)
            operators.delete_operator(tx, name)
            now = self._clock()
            tx.audit(actor.audit_event("operator.deleted", subject_of(name), at=now))
            _revoke_tokens_of(tx, name, actor=actor, now=now)

        await self._store.write(op)

    async def _record(self, name: str, role: Role, password: Secret, *, must_change: bool) -> OperatorRecord:
        return OperatorRecord(
            name=name,
            role=role,
            password_hash=await self._passwords.hash(password),
            must_change_password=must_change,
            created_at=self._clock(),
        )

    async def _set_password(
        self,
        operator: OperatorRecord,
        password: Secret,
        *,
        must_change: bool,
        keep_session: str | None,
        actor: Actor,
        asked: Operation | None = None,
        is_given: bool = False,
    ) -> OperatorRecord:
        password_hash = await self._passwords.hash(password)

        def op(tx: WriteTx) -> OperatorRecord:
            current = get_operator(tx, operator.name)
            # Anyone who changes their own password has proved the current one. If it was reset in the meantime,
            # because somebody else knew it, this must not undo that.
            if keep_session is not None and current.password_hash != operator.password_hash:
                raise LoginFailedError("The current password is wrong.")
            if asked is not None:
                # Takeover: no proof was given for an operator who was deleted and created again in the meantime.
                check_unchanged(current, {"created_at": operator.created_at})
                self._gate.check(tx, asked, actor=actor, has_secret=is_given)
            changed = msgspec.structs.replace(
                current,
                password_hash=password_hash,
                must_change_password=must_change,
                # Changing an emergency password does not prolong the emergency.
                password_expires_at=current.password_expires_at if keep_session is not None else None,
                # Other people's guesses must not lock out an operator who was given a new password.
                unlocks=current.unlocks + (keep_session is None),
            )
            operators.replace_operator(tx, changed)
            admin_sessions.delete_sessions_of(tx, operator.name, besides=keep_session)
            now = self._clock()
            tx.audit(actor.audit_event("operator.password_set", subject_of(operator.name), at=now))
            if keep_session is None:
                _revoke_tokens_of(tx, operator.name, actor=actor, now=now)
            return changed

        async with self._gate.asking(actor):
            return await self._store.write(op)


def get_operator(tx: WriteTx, name: str) -> OperatorRecord:
    """Return an operator within a transaction; raises NotFoundError."""
    record = operators.find_operator(tx.conn, name)
    if record is None:
        raise NotFoundError("operator", name)
    return record


def _check_local(record: OperatorRecord) -> None:
    if record.issuer is not None:
        raise ConflictError(
            "role_from_issuer",
            f"'{record.name}' signs in at {record.issuer}, whose claims decide the role.",
            hint="Change it there; it takes effect at the next sign-in.",
        )


def _check_not_last_admin(tx: WriteTx, record: OperatorRecord) -> None:
    # Operators of the issuer do not count: neither an outage nor a rule there must leave the Server without an admin. Nor do admins with
    # a scope, who cannot manage operators.
    admins = [
        o
        for o in operators.all_operators(tx.conn)
        if o.role is Role.ADMIN and o.issuer is None and o.scope is None
    ]
    if admins == [record]:
        raise ConflictError(
            "last_admin",
            f"'{record.name}' is the last admin without a scope.",
            hint="Make another admin first.",
        )


def _revoke_tokens_of(tx: WriteTx, name: str, *, actor: Actor, now: datetime) -> None:
    for token in api_tokens.revoke_api_tokens_of(tx, name, now):
        tx.audit(actor.audit_event("api_token.revoked", f"api_token:{token}", at=now))


def subject_of(name: str) -> str:
    """Return an operator's name in the audit log."""
    return f"operator:{name}"
