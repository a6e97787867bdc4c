"""Rules for apps and passkeys alike: which operators may have them, recovery codes, and what happens when the last one is removed."""

from collections.abc import Sequence

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError
from lyftdata.core.records import OperatorRecord
from lyftdata.core.recovery_codes import recovery_code_digest
from lyftdata.core.second_factor_policy import SecondFactorPolicy, needs_second_factor
from lyftdata.server.admin.operator_rules import get_operator
from lyftdata.store import WriteTx
from lyftdata.store.tables import passkeys, second_factors


def check_local(record: OperatorRecord | None) -> None:
    """Reject a second factor for an operator who signs in at an issuer; raises ConflictError `second_factor_at_issuer`."""
    if record is not None and record.issuer is not None:
        raise ConflictError(
            "second_factor_at_issuer",
            f"'{record.name}' signs in at {record.issuer}, which asks for a second factor of its own.",
        )


def store_recovery_codes(tx: WriteTx, operator: str, codes: Sequence[str]) -> None:
    """Replace an operator's recovery codes."""
    digests = [recovery_code_digest(code, operator=operator) for code in codes]
    second_factors.replace_recovery_codes(tx, operator, digests)


def remove_all_factors(tx: WriteTx, operator: str) -> None:
    """Remove every app and passkey of an operator, and their recovery codes."""
    second_factors.delete_factors_of(tx, operator)
    passkeys.delete_passkeys_of(tx, operator)
    second_factors.replace_recovery_codes(tx, operator, [])


def check_own_not_needed(tx: WriteTx, name: str, policy: SecondFactorPolicy, *, actor: Actor) -> None:
    """
    Reject an admin's attempt to do to their own account, as if it were another's, what `check_not_needed` rejects.

    Another admin may do it, or confirm it: they know whether a factor was lost.

    Raises:
        ConflictError: `second_factor_needed`.
    """
    if name == actor.operator and actor.confirmation is None:
        check_not_needed(tx, get_operator(tx.conn, name), policy)


def check_not_needed(tx: WriteTx, operator: OperatorRecord, policy: SecondFactorPolicy) -> None:
    """
    Reject leaving an operator without a second factor that they must have; the transaction has already removed it.

    Otherwise their password alone would be enough to set up the next one, and a thief may be quicker.

    Raises:
        ConflictError: `second_factor_needed`.
    """
    if needs_second_factor(policy, operator) and not second_factors.has_factor(tx.conn, operator.name):
        raise ConflictError(
            "second_factor_needed",
            "This Server requires a second factor of you, and this is your last one.",
            hint="Set up another one first. If it is lost, an admin can reset it.",
        )
