"""
Checks an operator's second factor: a code of their app, a passkey, or one of their recovery codes.

Each is accepted once, at all Servers together. Failures are counted like wrong passwords, but separately: a right password, which
an attacker may know, does not reset the count.
"""

import msgspec

from lyftdata.core.errors import SecondFactorFailedError, SecondFactorRequiredError
from lyftdata.core.lockout import Claim
from lyftdata.core.records import AuditEvent, OperatorRecord, PasskeyRecord, SecondFactorKind
from lyftdata.core.recovery_codes import recovery_code_digest
from lyftdata.core.sealing import UnsealError
from lyftdata.core.second_factor_policy import takes_second_factor
from lyftdata.core.secret import Secret
from lyftdata.core.totp import find_step, is_code, unseal_totp_secret
from lyftdata.server.admin.passkey_ceremonies import PasskeyCeremonies, PasskeyRefusedError, credential_id_of
from lyftdata.server.admin.password_check import PasswordCheck
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import passkeys, second_factors, spent_assertions

RECOVERY_CODE = "recovery_code"
PASSKEY = "passkey"
COUNTER_REGRESSED = "operator.passkey_counter_regressed"
# Operators' names contain no colon: only wrong codes are counted under this name.
_COUNTED_AS = "second factor:"


class SecondFactorProof(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an operator has entered in addition to the password.

    `code` is of an app, or a recovery code. `passkey` is JSON of a browser's response, and `bound_to` says for which session or sign-in its
    challenge must have been issued.
    """

    code: Secret | None = None
    passkey: Secret | None = None
    bound_to: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was entered."""
        return not any(given and given.reveal().strip() for given in (self.code, self.passkey))


class SecondFactorChoices(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's second factors; `passkey_options` are the browser's options, "" if they have no passkey."""

    has_app: bool
    passkey_options: str


class SecondFactorCheck:
    """
    Checks second factors and counts failures.

    Args:
        store: Stores the factors.
        password_check: Counts failures.
        ceremonies: Creates options for browsers, and verifies responses.
        kek: Decrypts the secrets.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        password_check: PasswordCheck,
        ceremonies: PasskeyCeremonies,
        kek: bytes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._password_check = password_check
        self._ceremonies = ceremonies
        self._kek = kek
        self._clock = clock

    async def is_wanted(self, operator: OperatorRecord) -> bool:
        """Return whether a second factor is required: the operator has one, and it applies to their way of signing in."""
        if not takes_second_factor(operator):
            return False
        return await self._store.read(lambda conn: second_factors.has_factor(conn, operator.name))

    async def choices(self, operator: str, *, bound_to: str) -> SecondFactorChoices:
        """Return an operator's second factors, with a new challenge for `bound_to`. They have already proved their password."""
        apps, allowed = await self._store.read(
            lambda conn: (
                second_factors.factors_of(conn, operator),
                passkeys.passkeys_of(conn, operator),
            )
        )
        # If the public URL was changed to one that allows no passkeys, codes still work.
        options = (
            self._ceremonies.request_options(allowed, bound_to=bound_to)
            if allowed and self._ceremonies.is_possible
            else ""
        )
        return SecondFactorChoices(has_app=bool(apps), passkey_options=options)

    async def check(self, operator: OperatorRecord, proof: SecondFactorProof, *, claim: Claim) -> str | None:
        """
        Check and use up a code or a passkey response, if the operator needs one. Their password was right.

        Args:
            operator: The operator.
            proof: What they entered.
            claim: What the lockout knows about the attempt's origin.

        Returns:
            The kind of factor: `totp`, `passkey` or `recovery_code`; None if none is required.

        Raises:
            SecondFactorRequiredError: Nothing was entered.
            SecondFactorFailedError: It is wrong, belongs to another operator, or was used before.
            LoginLockedError: Too many failures.
        """
        if not await self.is_wanted(operator):
            return None
        if proof.is_empty:
            raise SecondFactorRequiredError
        used: list[str] = []

        async def verify() -> bool:
            kind = await self._use(operator, proof, address=claim.address)
            if kind is not None:
                used.append(kind)
            return bool(used)

        counted = msgspec.structs.replace(claim, name=_COUNTED_AS + operator.name)
        if not await self._password_check.count(verify, operator, counted):
            raise SecondFactorFailedError(
                "The passkey was not accepted, or the page was open for more than five minutes. Try again."
                if proof.passkey
                else "The code is wrong, or was used before."
            )
        return used[0]

    async def _use(self, operator: OperatorRecord, proof: SecondFactorProof, *, address: str) -> str | None:
        if proof.passkey:
            return await self._use_passkey(operator, proof.passkey, bound_to=proof.bound_to, address=address)
        code = proof.code or Secret("")
        if is_code(code.reveal()):
            return await self._use_totp(operator, code)
        return await self._use_recovery_code(operator, code, address=address)

    async def _use_totp(self, operator: OperatorRecord, code: Secret) -> str | None:
        now = self._clock()
        for factor in await self._store.read(lambda conn: second_factors.factors_of(conn, operator.name)):
            try:
                secret = unseal_totp_secret(factor.sealed, factor_id=factor.id, key=self._kek)
            except UnsealError:
                # Encrypted with another secret key: recovery codes and a reset by an admin still work.
                continue
            step = find_step(code.reveal(), secret, now=now)
            if step is None:
                continue
            factor_id = factor.id
            if await self._store.write(
                lambda tx, factor_id=factor_id, step=step: second_factors.use_factor(  # type: ignore[misc]
                    tx, factor_id, counter=step, now=now
                )
            ):
                return SecondFactorKind.TOTP.value
        return None

    async def _use_passkey(
        self, operator: OperatorRecord, answer: Secret, *, bound_to: str, address: str
    ) -> str | None:
        try:
            credential_id = credential_id_of(answer.reveal())
            # Only of this operator: another operator's passkey, however genuine, is wrong.
            passkey = await self._store.read(
                lambda conn: passkeys.find_by_credential(conn, operator.name, credential_id)
            )
            if passkey is None:
                return None
            assertion = await self._ceremonies.verify_assertion(
                answer.reveal(), passkey=passkey, bound_to=bound_to
            )
        except PasskeyRefusedError:
            return None
        challenge, now = assertion.challenge, self._clock()

        def op(tx: WriteTx) -> str | None:
            # Replay: a signature is accepted only once, at any Server.
            if not spent_assertions.spend_all(tx, {challenge.digest: challenge.expires_at}):
                return None
            if passkeys.use_passkey(tx, passkey.id, sign_count=assertion.sign_count, now=now):
                return PASSKEY
            # The signature is valid but the counter is not: two authenticators have this key (WebAuthn Level 3, section 6.1.1).
            tx.audit(self._regress(passkey, address=address))
            return None

        return await self._store.write(op)

    def _regress(self, passkey: PasskeyRecord, *, address: str) -> AuditEvent:
        subject = f"operator:{passkey.operator}"
        return AuditEvent(
            at=self._clock(),
            actor=subject,
            action=COUNTER_REGRESSED,
            subject=subject,
            address=address,
            details={"name": passkey.name},
        )

    async def _use_recovery_code(self, operator: OperatorRecord, code: Secret, *, address: str) -> str | None:
        digest = recovery_code_digest(code.reveal(), operator=operator.name)

        def op(tx: WriteTx) -> str | None:
            if not second_factors.spend_recovery_code(tx, operator.name, digest):
                return None
            left = second_factors.count_recovery_codes(tx.conn, operator.name)
            subject = f"operator:{operator.name}"
            tx.audit(
                AuditEvent(
                    at=self._clock(),
                    actor=subject,
                    action="operator.recovery_code_used",
                    subject=subject,
                    address=address,
                    details={"left": str(left)},
                )
            )
            return RECOVERY_CODE

        return await self._store.write(op)
