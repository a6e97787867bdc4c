"""Makes another signing key sign now, and withdraws keys."""

from collections.abc import Collection

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import WithdrawSigningKeys
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.store import WriteTx


class SigningKeyRotation:
    """
    Rotates signing keys at once, on behalf of an operator.

    Args:
        signing_keys: The keys.
        gate: Blocks a withdrawal that a second operator must confirm.
    """

    def __init__(self, *, signing_keys: SigningKeys, gate: SecondOperatorGate) -> None:
        self._signing_keys = signing_keys
        self._gate = gate

    async def rotate_now(self, *, withdraw: Collection[str], actor: Actor) -> None:
        """
        Let another key sign from now on, and withdraw keys, as `SigningKeys.rotate_now` does.

        Raises:
            NotFoundError: `signing_key_not_found`; nothing is changed.
            SecondOperatorRequiredError: A second operator must confirm it.
        """

        def check(tx: WriteTx) -> None:
            if withdraw:
                self._gate.check(tx, WithdrawSigningKeys(kids=sorted(withdraw)), actor=actor)

        async with self._gate.asking(actor):
            await self._signing_keys.rotate_now(withdraw=withdraw, check=check, actor=actor)
