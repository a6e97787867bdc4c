"""
Checks an operator's second factor: a code of their app, a passkey, or one of their recovery codes.

Each counts once, at all Servers together. Wrong ones are counted as wrong passwords are, but apart from them: a right password, which
an attacker may know, forgives none.
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
# No operator's name has a colon: what is counted under it are wrong codes alone.
_COUNTED_AS = "second factor:"


class SecondFactorProof(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an operator has given in addition to the password.

    `code` is of an app, or a recovery code. `passkey` is JSON of a browser's answer, and `bound_to` says which session or sign-in its
    challenge must have been made for.
    """

    code: Secret | None = None
    passkey: Secret | None = None
    bound_to: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was given."""
        return not any(given and given.reveal().strip() for given in (self.code, self.passkey))


class SecondFactorChoices(msgspec.Struct, frozen=True, kw_only=True):
    """By what an operator can be recognised; `passkey_options` is what the browser is asked with, "" if they have no passkey."""

    has_app: bool
    passkey_options: str


class SecondFactorCheck:
    """
    Checks second factors and counts failures.

    Args:
        store: Where factors are kept.
        password_check: Counts failures.
        ceremonies: Asks browsers for passkeys, and verifies their answers.
        kek: Opens the secrets.
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
        """Return whether an operator is to be asked: they have a factor, and it counts for how they sign in."""
        if not takes_second_factor(operator):
            return False
        return await self._store.read(lambda conn: second_factors.has_factor(conn, operator.name))

    async def choices(self, operator: str, *, bound_to: str) -> SecondFactorChoices:
        """Return by what an operator can be recognised, with a new challenge for `bound_to`. They have proved their password."""
        apps, allowed = await self._store.read(
            lambda conn: (
                second_factors.factors_of(conn, operator),
                passkeys.passkeys_of(conn, operator),
            )
        )
        # Where the public URL was changed to one that allows no passkeys, codes still help.
        options = (
            self._ceremonies.request_options(allowed, bound_to=bound_to)
            if allowed and self._ceremonies.is_possible
            else ""
        )
        return SecondFactorChoices(has_app=bool(apps), passkey_options=options)

    async def check(self, operator: OperatorRecord, proof: SecondFactorProof, *, claim: Claim) -> str | None:
        """
        Check and use up a code or a passkey's answer, if the operator is to be asked for one. Their password was right.

        Args:
            operator: Whose.
            proof: What was given.
            claim: What the lockout knows of where it comes from.

        Returns:
            By what they were recognised: `totp`, `passkey` or `recovery_code`; None if they are not asked.

        Raises:
            SecondFactorRequiredError: There is none.
            SecondFactorFailedError: It is wrong, of another operator, or was used before.
            LoginLockedError: Too many were.
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
                # Sealed with another secret key: recovery codes and an admin's reset still help.
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
            # Of this operator alone: another's passkey, however genuine, is a wrong one.
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
            # Replay: what was signed once is accepted once, at whichever Server.
            if not spent_assertions.spend_all(tx, {challenge.digest: challenge.expires_at}):
                return None
            if passkeys.use_passkey(tx, passkey.id, sign_count=assertion.sign_count, now=now):
                return PASSKEY
            # The signature is right and the counter is not: two authenticators hold this key (WebAuthn Level 3, section 6.1.1).
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
