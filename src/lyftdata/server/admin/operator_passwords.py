"""Operators' passwords: changing one's own, and resetting another operator's."""

import asyncio

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import Operation, ResetPassword
from lyftdata.core.errors import LoginFailedError
from lyftdata.core.records import OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.edits import check_unchanged
from lyftdata.server.admin.operator_rules import get_operator, revoke_tokens_of, subject_of
from lyftdata.server.admin.password_check import PasswordCheck, check_has_password
from lyftdata.server.admin.passwords import Passwords, check_new_password, check_replaces
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, operators


class OperatorPasswords:
    """
    Changes and resets passwords.

    Args:
        store: Stores operators.
        passwords: Hashes passwords.
        password_check: Checks current passwords and counts failures.
        device_marks: Issues what a browser or a command line keeps after a sign-in.
        gate: Blocks what a second operator must confirm.
        clock: Aware UTC time.
        random_bytes: Generates passwords.
    """

    def __init__(
        self,
        *,
        store: Store,
        passwords: Passwords,
        password_check: PasswordCheck,
        device_marks: DeviceMarks,
        gate: SecondOperatorGate,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._password_check = password_check
        self._device_marks = device_marks
        self._gate = gate
        self._clock = clock
        self._random_bytes = random_bytes

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
        operator = await self._store.read(lambda conn: get_operator(conn, name))
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
            current = get_operator(tx.conn, operator.name)
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
                revoke_tokens_of(tx, operator.name, actor=actor, now=now)
            return changed

        async with self._gate.asking(actor):
            return await self._store.write(op)
