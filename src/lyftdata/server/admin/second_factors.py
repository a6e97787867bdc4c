"""The use cases of second factors: operators set up an app, make recovery codes, remove factors; and admins reset those of others."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import ResetSecondFactor
from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.records import PasskeyRecord, SecondFactorKind, SecondFactorRecord
from lyftdata.core.recovery_codes import make_recovery_codes
from lyftdata.core.sealing import NONCE_BYTES, UnsealError, seal, unseal
from lyftdata.core.second_factor_policy import SecondFactorPolicy
from lyftdata.core.secret import Secret
from lyftdata.core.totp import SECRET_BYTES, app_uri, find_step, seal_totp_secret, secret_text
from lyftdata.server.admin.operator_rules import get_operator, subject_of
from lyftdata.server.admin.second_factor_rules import (
    check_local,
    check_not_needed,
    check_own_not_needed,
    remove_all_factors,
    store_recovery_codes,
)
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.session_checks import get_own_session
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, operators, passkeys, second_factors

_SETUP_LIFE = timedelta(minutes=15)
_MAX_SETUP_LENGTH = 500


class TotpSetup(msgspec.Struct, frozen=True):
    """
    The setup of an app: nothing is stored until a code from the app confirms it.

    `secret` is entered into the app, or `uri` read from a QR code; `setup` must be sent back with the code.
    """

    secret: Secret
    uri: Secret
    setup: Secret


class SecondFactorStatus(msgspec.Struct, frozen=True):
    """What an operator has: apps, passkeys, and unused recovery codes."""

    factors: Sequence[SecondFactorRecord]
    passkeys: Sequence[PasskeyRecord]
    recovery_codes: int

    @property
    def has_any(self) -> bool:
        """Whether the operator has a second factor."""
        return bool(self.factors or self.passkeys)


class SecondFactors:
    """
    Manages second factors; passkeys have their own use cases in `passkeys.py`.

    Changes by operators to their own factors raise NotSignedInError if their session has ended in the meantime.

    Args:
        store: Stores them.
        kek: Encrypts secrets; not in the database.
        issuer: The Server's public URL, whose host the app shows.
        policy: Which operators must have a second factor.
        gate: Blocks what a second operator must confirm.
        clock: Aware UTC time.
        random_bytes: Generates secrets, codes and IDs.
    """

    def __init__(
        self,
        *,
        store: Store,
        kek: bytes,
        issuer: str,
        policy: SecondFactorPolicy,
        gate: SecondOperatorGate,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._kek = kek
        self._host = urlsplit(issuer).netloc
        self._policy = policy
        self._gate = gate
        self._clock = clock
        self._random_bytes = random_bytes

    async def status(self, name: str) -> SecondFactorStatus:
        """Return what an operator has; empty for one that does not exist."""
        return await self._store.read(
            lambda conn: SecondFactorStatus(
                second_factors.factors_of(conn, name),
                passkeys.passkeys_of(conn, name),
                second_factors.count_recovery_codes(conn, name),
            )
        )

    async def operators_with_factors(self) -> set[str]:
        """Return the names of the operators who have a second factor."""
        return await self._store.read(second_factors.operators_with_factors)

    async def begin_totp(self, *, actor: Actor) -> TotpSetup:
        """Return a new secret for an app; raises ConflictError `second_factor_at_issuer`."""
        check_local(await self._store.read(lambda conn: operators.find_operator(conn, actor.operator)))
        secret = self._random_bytes(SECRET_BYTES)
        until_s = int((self._clock() + _SETUP_LIFE).timestamp())
        plain = json.dumps([base64url(secret), until_s]).encode()
        sealed = seal(
            plain, key=self._kek, nonce=self._random_bytes(NONCE_BYTES), context=_setup_context(actor)
        )
        return self._setup(secret, base64url(sealed), actor)

    def resume_totp(self, unverified_setup: Secret, *, actor: Actor) -> TotpSetup:
        """Return a setup in progress, to show it again; raises InvalidInputError."""
        return self._setup(self._open(unverified_setup, actor), unverified_setup.reveal(), actor)

    async def confirm_totp(self, unverified_setup: Secret, code: Secret, *, actor: Actor) -> Sequence[Secret]:
        """
        Store the secret once a code shows that the app has it; a previous app is replaced. Other sessions end.

        Returns:
            New recovery codes, to show once.

        Raises:
            InvalidInputError: `setup` is from another session, or older than fifteen minutes; or the code is wrong.
            ConflictError: `second_factor_at_issuer`.
        """
        secret, now = self._open(unverified_setup, actor), self._clock()
        step = find_step(code.reveal(), secret, now=now)
        if step is None:
            raise InvalidInputError("code", "must be the one that the app shows now")
        record = self._record(secret, step, actor.operator, now=now)
        codes = make_recovery_codes(self._random_bytes)

        def op(tx: WriteTx) -> None:
            get_own_session(tx, actor)
            check_local(get_operator(tx.conn, actor.operator))
            second_factors.delete_factors_of(tx, actor.operator)
            second_factors.insert_factor(tx, record)
            # Ends sessions opened with only the password, perhaps by a thief.
            admin_sessions.delete_sessions_of(tx, actor.operator, besides=actor.session_id)
            admin_sessions.set_second_factor(tx, actor.session_id, record.kind.value)
            store_recovery_codes(tx, actor.operator, codes)
            details = {"kind": record.kind.value}
            tx.audit(
                actor.audit_event(
                    "operator.second_factor_added", subject_of(actor.operator), at=now, details=details
                )
            )

        await self._store.write(op)
        return [Secret(text) for text in codes]

    async def renew_recovery_codes(self, *, actor: Actor) -> Sequence[Secret]:
        """Return new recovery codes, to show once; the old ones become invalid. Raises ConflictError `no_second_factor`."""
        codes = make_recovery_codes(self._random_bytes)

        def op(tx: WriteTx) -> None:
            get_own_session(tx, actor)
            if not second_factors.has_factor(tx.conn, actor.operator):
                raise ConflictError("no_second_factor", "Set up a second factor first.")
            store_recovery_codes(tx, actor.operator, codes)
            tx.audit(
                actor.audit_event(
                    "operator.recovery_codes_made", subject_of(actor.operator), at=self._clock()
                )
            )

        await self._store.write(op)
        return [Secret(text) for text in codes]

    async def remove(self, *, actor: Actor) -> None:
        """
        Remove all of the caller's second factors and recovery codes, and end their other sessions.

        Raises:
            ConflictError: `second_factor_needed`.
        """

        def op(tx: WriteTx) -> None:
            get_own_session(tx, actor)
            if second_factors.has_factor(tx.conn, actor.operator):
                remove_all_factors(tx, actor.operator)
                self._settle_removal(tx, actor, details=None)

        await self._store.write(op)

    async def remove_app(self, *, actor: Actor) -> None:
        """
        Remove the caller's app, and end their other sessions; passkeys stay, and recovery codes as long as there is a passkey.

        Raises:
            ConflictError: `second_factor_needed`.
        """

        def op(tx: WriteTx) -> None:
            get_own_session(tx, actor)
            if not second_factors.factors_of(tx.conn, actor.operator):
                return
            second_factors.delete_factors_of(tx, actor.operator)
            if not second_factors.has_factor(tx.conn, actor.operator):
                remove_all_factors(tx, actor.operator)
            self._settle_removal(tx, actor, details={"kind": SecondFactorKind.TOTP.value})

        await self._store.write(op)

    async def reset(self, name: str, *, actor: Actor) -> None:
        """
        Remove all second factors and recovery codes of an operator who has lost them, and end their sessions.

        Raises:
            NotFoundError: No such operator.
            ConflictError: `second_factor_at_issuer`; `second_factor_needed`: it is the caller's own, and required.
            SecondOperatorRequiredError: A second operator must confirm it.
        """

        def op(tx: WriteTx) -> None:
            check_local(get_operator(tx.conn, name))
            if not second_factors.has_factor(tx.conn, name):
                return
            created_at = get_operator(tx.conn, name).created_at
            self._gate.check(tx, ResetSecondFactor(name=name, created_at=created_at), actor=actor)
            remove_all_factors(tx, name)
            check_own_not_needed(tx, name, self._policy, actor=actor)
            admin_sessions.delete_sessions_of(tx, name)
            tx.audit(actor.audit_event("operator.second_factor_reset", subject_of(name), at=self._clock()))

        async with self._gate.asking(actor):
            await self._store.write(op)

    def _settle_removal(self, tx: WriteTx, actor: Actor, *, details: dict[str, str] | None) -> None:
        check_not_needed(tx, get_operator(tx.conn, actor.operator), self._policy)
        admin_sessions.delete_sessions_of(tx, actor.operator, besides=actor.session_id)
        if not second_factors.has_factor(tx.conn, actor.operator):
            admin_sessions.set_second_factor(tx, actor.session_id, None)
        subject = subject_of(actor.operator)
        tx.audit(
            actor.audit_event("operator.second_factor_removed", subject, at=self._clock(), details=details)
        )

    def _setup(self, secret: bytes, setup: str, actor: Actor) -> TotpSetup:
        uri = app_uri(secret, operator=actor.operator, host=self._host)
        return TotpSetup(Secret(secret_text(secret)), Secret(uri), Secret(setup))

    def _open(self, unverified_setup: Secret, actor: Actor) -> bytes:
        try:
            text = unverified_setup.reveal()
            sealed = decode_base64url(text) if len(text) <= _MAX_SETUP_LENGTH else b""
            encoded, until_s = json.loads(unseal(sealed, key=self._kek, context=_setup_context(actor)))
        except (ValueError, UnsealError):
            raise _not_begun() from None
        if self._clock().timestamp() >= until_s:
            raise _not_begun()
        return decode_base64url(encoded)

    def _record(self, secret: bytes, step: int, operator: str, *, now: datetime) -> SecondFactorRecord:
        factor_id = self._random_bytes(16).hex()
        sealed = seal_totp_secret(
            secret, factor_id=factor_id, key=self._kek, nonce=self._random_bytes(NONCE_BYTES)
        )
        return SecondFactorRecord(
            id=factor_id,
            operator=operator,
            kind=SecondFactorKind.TOTP,
            sealed=sealed,
            # Replay: the code that confirms the setup is used up.
            counter=step,
            created_at=now,
            used_at=now,
        )


def _setup_context(actor: Actor) -> str:
    return f"totp setup {actor.operator} {actor.session_id}"


def _not_begun() -> InvalidInputError:
    return InvalidInputError(
        "setup", "was not begun in this session, or more than 15 minutes ago: begin again"
    )
