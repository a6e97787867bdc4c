"""What operators may do: their roles, and the Workers that they are limited to."""

from collections.abc import Mapping

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import SetRole, SetScope
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import format_labels
from lyftdata.core.records import OperatorRecord, Role
from lyftdata.core.scopes import scope_of
from lyftdata.server.admin.edits import check_unchanged
from lyftdata.server.admin.operator_rules import (
    check_local,
    check_not_last_admin,
    get_operator,
    read_scope,
    subject_of,
)
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, operators


class OperatorPermissions:
    """
    Changes roles and scopes.

    Args:
        store: Stores operators.
        known_secrets: What no scope may hold.
        gate: Blocks what a second operator must confirm.
        clock: Aware UTC time.
    """

    def __init__(
        self, *, store: Store, known_secrets: KnownSecrets, gate: SecondOperatorGate, clock: Clock
    ) -> None:
        self._store = store
        self._known_secrets = known_secrets
        self._gate = gate
        self._clock = clock

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
            record = get_operator(tx.conn, name)
            check_local(record)
            check_unchanged(record, None if expected is None else {"role": expected})
            if role is not Role.ADMIN:
                check_not_last_admin(tx, record)
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
        labels = read_scope(scope, self._known_secrets)

        def op(tx: WriteTx) -> OperatorRecord:
            record = get_operator(tx.conn, name)
            check_local(record)
            if labels is not None:
                check_not_last_admin(tx, record)
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
