"""Operators' accounts: the first one, and who is added and deleted."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from sqlalchemy import Connection

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import AddOperator
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import format_labels, parse_operator_name
from lyftdata.core.records import AuditEvent, OperatorRecord, Role
from lyftdata.core.secret import Secret
from lyftdata.server.admin.operator_rules import (
    check_not_last_admin,
    get_operator,
    read_scope,
    revoke_tokens_of,
    subject_of,
)
from lyftdata.server.admin.passwords import Passwords, check_new_password
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, known_networks, operators


class Operators:
    """
    Manages operators' accounts.

    Args:
        store: Stores them.
        passwords: Hashes passwords.
        known_secrets: What no name or scope may hold.
        gate: Blocks what a second operator must confirm.
        clock: Aware UTC time.
        random_bytes: Generates passwords.
    """

    def __init__(
        self,
        *,
        store: Store,
        passwords: Passwords,
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
        return await self._store.read(lambda conn: get_operator(conn, name))

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
        labels = read_scope(scope, self._known_secrets)
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

    async def delete(self, name: str, *, actor: Actor) -> None:
        """
        Remove an operator, end their sessions and revoke their API tokens.

        Raises:
            NotFoundError: No such operator.
            ConflictError: `last_admin`: no operator could undo it; `second_operator_needed`.
        """

        def op(tx: WriteTx) -> None:
            check_not_last_admin(tx, get_operator(tx.conn, name))
            self._gate.check_enough_left(tx, name)
            admin_sessions.delete_sessions_of(tx, name)
            operators.delete_operator(tx, name)
            now = self._clock()
            tx.audit(actor.audit_event("operator.deleted", subject_of(name), at=now))
            revoke_tokens_of(tx, name, actor=actor, now=now)

        await self._store.write(op)

    async def _record(self, name: str, role: Role, password: Secret, *, must_change: bool) -> OperatorRecord:
        return OperatorRecord(
            name=name,
            role=role,
            password_hash=await self._passwords.hash(password),
            must_change_password=must_change,
            created_at=self._clock(),
        )
