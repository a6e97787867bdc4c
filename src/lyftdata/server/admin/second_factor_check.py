"""
Checks an operator's second factor: a code of their app, or one of their recovery codes.

A code counts once, at all Servers together. Wrong ones are counted as wrong passwords are, but apart from them: a right password, which
an attacker may know, forgives none.
"""

import msgspec

from lyftdata.core.errors import SecondFactorFailedError, SecondFactorRequiredError
from lyftdata.core.lockout import Claim
from lyftdata.core.records import AuditEvent, OperatorRecord, SecondFactorKind
from lyftdata.core.recovery_codes import recovery_code_digest
from lyftdata.core.sealing import UnsealError
from lyftdata.core.second_factor_policy import takes_second_factor
from lyftdata.core.secret import Secret
from lyftdata.core.totp import find_step, is_code, unseal_totp_secret
from lyftdata.server.admin.password_check import PasswordCheck
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import second_factors

RECOVERY_CODE = "recovery_code"
# No operator's name has a colon: what is counted under it are wrong codes alone.
_COUNTED_AS = "second factor:"


class SecondFactorCheck:
    """
    Checks second factors and counts failures.

    Args:
        store: Where factors are kept.
        password_check: Counts failures.
        kek: Opens the secrets.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, password_check: PasswordCheck, kek: bytes, clock: Clock) -> None:
        self._store = store
        self._password_check = password_check
        self._kek = kek
        self._clock = clock

    async def is_wanted(self, operator: OperatorRecord) -> bool:
        """Return whether an operator is to be asked: they have a factor, and it counts for how they sign in."""
        if not takes_second_factor(operator):
            return False
        return bool(await self._store.read(lambda conn: second_factors.factors_of(conn, operator.name)))

    async def check(self, operator: OperatorRecord, code: Secret | None, *, claim: Claim) -> str | None:
        """
        Check and use up a code, if the operator is to be asked for one. Their password was right.

        Args:
            operator: Whose.
            code: As typed; None if nothing was.
            claim: What the lockout knows of where it comes from.

        Returns:
            By what they were recognised: `totp` or `recovery_code`; None if they are not asked.

        Raises:
            SecondFactorRequiredError: There is none.
            SecondFactorFailedError: It is wrong, of another operator, or was used before.
            LoginLockedError: Too many were.
        """
        if not await self.is_wanted(operator):
            return None
        if code is None or not code.reveal().strip():
            raise SecondFactorRequiredError
        used: list[str] = []

        async def verify() -> bool:
            kind = await self._use(operator, code, address=claim.address)
            if kind is not None:
                used.append(kind)
            return bool(used)

        counted = msgspec.structs.replace(claim, name=_COUNTED_AS + operator.name)
        if not await self._password_check.count(verify, operator, counted):
            raise SecondFactorFailedError("The code is wrong, or was used before.")
        return used[0]

    async def _use(self, operator: OperatorRecord, code: Secret, *, address: str) -> str | None:
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
