"""The use cases of passkeys: operators register and remove their own, and admins remove those of others."""

from collections.abc import Sequence

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import RemovePasskey
from lyftdata.core.errors import ConflictError, InvalidInputError, NotFoundError
from lyftdata.core.names import parse_passkey_name
from lyftdata.core.records import OperatorRecord, PasskeyRecord
from lyftdata.core.recovery_codes import make_recovery_codes
from lyftdata.core.second_factor_policy import SecondFactorPolicy
from lyftdata.core.secret import Secret
from lyftdata.server.admin.operator_rules import get_operator, subject_of
from lyftdata.server.admin.passkey_ceremonies import NewPasskey, PasskeyCeremonies, PasskeyRefusedError
from lyftdata.server.admin.second_factor_check import PASSKEY
from lyftdata.server.admin.second_factor_rules import (
    check_local,
    check_not_needed,
    check_own_not_needed,
    store_recovery_codes,
)
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.session_checks import get_own_session
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, operators, passkeys, second_factors, spent_assertions

MAX_PASSKEYS = 20
"""Per operator: all of them are listed in each request to a browser."""


class Passkeys:
    """
    Manages passkeys. They can only be registered in the browser: a passkey only works on the Server's own pages.

    Args:
        store: Stores them.
        ceremonies: Creates options for browsers, and verifies responses.
        policy: Which operators must have a second factor.
        gate: Blocks what a second operator must confirm.
        clock: Aware UTC time.
        random_bytes: Generates IDs and recovery codes.
    """

    def __init__(
        self,
        *,
        store: Store,
        ceremonies: PasskeyCeremonies,
        policy: SecondFactorPolicy,
        gate: SecondOperatorGate,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._ceremonies = ceremonies
        self._policy = policy
        self._gate = gate
        self._clock = clock
        self._random_bytes = random_bytes

    @property
    def is_possible(self) -> bool:
        """Whether browsers can create passkeys for this Server's public URL."""
        return self._ceremonies.is_possible

    async def list(self, operator: str) -> Sequence[PasskeyRecord]:
        """Return an operator's passkeys, the oldest first; raises NotFoundError."""
        record, found = await self._read(operator)
        if record is None:
            raise NotFoundError("operator", operator)
        return found

    async def begin(self, *, actor: Actor) -> str:
        """
        Return the browser's options for creating a passkey, valid in this session for five minutes.

        Raises:
            ConflictError: `second_factor_at_issuer`, `passkeys_unavailable` or `too_many_passkeys`.
        """
        if not self.is_possible:
            raise ConflictError(
                "passkeys_unavailable",
                "Browsers make passkeys only for a Server whose public URL has https and a host name.",
                hint="Set LYFTDATA_PUBLIC_URL, or use an authenticator app.",
            )
        record, existing = await self._read(actor.operator)
        check_local(record)
        _check_room(existing)
        return self._ceremonies.creation_options(actor.operator, existing, bound_to=_bound_to(actor))

    async def add(self, name: str, unverified_answer: Secret, *, actor: Actor) -> Sequence[Secret]:
        """
        Store the passkey that a browser has created.

        Sessions opened without a second factor end, except this one, which now counts as opened with it.

        Args:
            name: Chosen by the operator; 1 to 64 characters, and different from their other passkeys' names.
            unverified_answer: JSON of the browser's response to `begin`.
            actor: The passkey's operator.

        Returns:
            Recovery codes, to show once, if it is the operator's first second factor; otherwise empty.

        Raises:
            InvalidInputError: The name is invalid; the response is invalid, from another session, or too old.
            ConflictError: `second_factor_at_issuer`, `too_many_passkeys`; `passkey_known`: it is already registered.
            NotSignedInError: The session has ended in the meantime.
        """
        name = parse_passkey_name(name)
        try:
            new = await self._ceremonies.verify_creation(
                unverified_answer.reveal(), bound_to=_bound_to(actor)
            )
        except PasskeyRefusedError as error:
            raise _not_accepted() from error
        passkey_id = self._random_bytes(16).hex()
        codes = make_recovery_codes(self._random_bytes)

        def op(tx: WriteTx) -> bool:
            get_own_session(tx, actor)
            if not spent_assertions.spend_all(tx, {new.challenge.digest: new.challenge.expires_at}):
                raise _not_accepted()
            is_first = not second_factors.has_factor(tx.conn, actor.operator)
            record = self._insert(tx, new, actor.operator, passkey_id, name)
            if is_first:
                # Ends sessions opened with only the password, perhaps by a thief.
                admin_sessions.delete_sessions_of(tx, actor.operator, besides=actor.session_id)
                store_recovery_codes(tx, actor.operator, codes)
            admin_sessions.set_second_factor(tx, actor.session_id, PASSKEY)
            self._audit(tx, "operator.passkey_added", record, actor)
            return is_first

        is_first = await self._store.write(op)
        return [Secret(text) for text in codes] if is_first else []

    async def remove(self, passkey_id: str, *, actor: Actor) -> None:
        """
        Remove one of the caller's own passkeys, and end their other sessions; with the last second factor, recovery codes are removed too.

        Raises:
            NotFoundError: The caller has no such passkey.
            ConflictError: `second_factor_needed`.
            NotSignedInError: The session has ended in the meantime.
        """

        def op(tx: WriteTx) -> None:
            get_own_session(tx, actor)
            self._delete(tx, actor.operator, passkey_id, actor)
            check_not_needed(tx, get_operator(tx.conn, actor.operator), self._policy)
            if not second_factors.has_factor(tx.conn, actor.operator):
                admin_sessions.set_second_factor(tx, actor.session_id, None)
            admin_sessions.delete_sessions_of(tx, actor.operator, besides=actor.session_id)

        await self._store.write(op)

    async def remove_of(self, name: str, passkey_id: str, *, actor: Actor) -> None:
        """
        Remove a passkey of an operator who has lost it, and end their sessions.

        Raises:
            NotFoundError: No such operator, or they have no such passkey.
            ConflictError: `second_factor_needed`: it is the caller's own last second factor, and one is required.
            SecondOperatorRequiredError: A second operator must confirm it.
        """

        def op(tx: WriteTx) -> None:
            record, found = get_operator(tx.conn, name), _get_passkey(tx, name, passkey_id)
            operation = RemovePasskey(
                name=name, created_at=record.created_at, passkey_id=passkey_id, passkey=found.name
            )
            self._gate.check(tx, operation, actor=actor)
            self._delete(tx, name, passkey_id, actor)
            check_own_not_needed(tx, name, self._policy, actor=actor)
            admin_sessions.delete_sessions_of(tx, name)

        async with self._gate.asking(actor):
            await self._store.write(op)

    async def _read(self, operator: str) -> tuple[OperatorRecord | None, Sequence[PasskeyRecord]]:
        return await self._store.read(
            lambda conn: (operators.find_operator(conn, operator), passkeys.passkeys_of(conn, operator))
        )

    def _insert(
        self, tx: WriteTx, new: NewPasskey, operator: str, passkey_id: str, name: str
    ) -> PasskeyRecord:
        check_local(get_operator(tx.conn, operator))
        existing = passkeys.passkeys_of(tx.conn, operator)
        _check_room(existing)
        if name in {one.name for one in existing}:
            raise InvalidInputError("name", "is the name of another one of your passkeys")
        record = PasskeyRecord(
            id=passkey_id,
            operator=operator,
            name=name,
            credential_id=new.credential_id,
            user_handle=self._ceremonies.user_handle(operator, existing),
            public_key=new.public_key,
            sign_count=new.sign_count,
            created_at=self._clock(),
        )
        if not passkeys.insert_passkey(tx, record):
            # Of any operator: a credential that signs in two operators would let one act as the other.
            raise ConflictError("passkey_known", "This passkey is registered already.")
        return record

    def _delete(self, tx: WriteTx, operator: str, passkey_id: str, actor: Actor) -> None:
        found = _get_passkey(tx, operator, passkey_id)
        passkeys.delete_passkey(tx, operator, passkey_id)
        if not second_factors.has_factor(tx.conn, operator):
            second_factors.replace_recovery_codes(tx, operator, [])
        self._audit(tx, "operator.passkey_removed", found, actor)

    def _audit(self, tx: WriteTx, action: str, record: PasskeyRecord, actor: Actor) -> None:
        subject, details = subject_of(record.operator), {"name": record.name}
        tx.audit(actor.audit_event(action, subject, at=self._clock(), details=details))


def _get_passkey(tx: WriteTx, operator: str, passkey_id: str) -> PasskeyRecord:
    found = next((one for one in passkeys.passkeys_of(tx.conn, operator) if one.id == passkey_id), None)
    if found is None:
        raise NotFoundError("passkey", passkey_id)
    return found


def _bound_to(actor: Actor) -> str:
    return f"registration {actor.operator} {actor.session_id}"


def _not_accepted() -> InvalidInputError:
    return InvalidInputError(
        "passkey", "was not made for this page, or the page was open for more than five minutes: try again"
    )


def _check_room(existing: Sequence[PasskeyRecord]) -> None:
    if len(existing) >= MAX_PASSKEYS:
        raise ConflictError(
            "too_many_passkeys", f"You have {len(existing)} passkeys. Remove one that you no longer use."
        )
