"""Carries out a confirmed request: calls the use case that was stopped again."""

from typing import assert_never

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import BulkAction
from lyftdata.core.change_requests import (
    AddOperator,
    ChangeRules,
    ChangeWorkers,
    CutOff,
    Operation,
    RemovePasskey,
    ResetPassword,
    ResetSecondFactor,
    SetFleetPolicy,
    SetRole,
    SetScope,
    WithdrawSigningKeys,
)
from lyftdata.core.disabling import Disabling
from lyftdata.core.secret import Secret
from lyftdata.server.admin.bulk_changes import BulkChanges
from lyftdata.server.admin.fleet_policy import FleetPolicies
from lyftdata.server.admin.incident_response import IncidentResponse, Wanted
from lyftdata.server.admin.operator_passwords import OperatorPasswords
from lyftdata.server.admin.operator_permissions import OperatorPermissions
from lyftdata.server.admin.operators import Operators
from lyftdata.server.admin.passkeys import Passkeys
from lyftdata.server.admin.second_factors import SecondFactors
from lyftdata.server.admin.second_operator.rules import SecondOperatorSettings
from lyftdata.server.admin.signing_key_rotation import SigningKeyRotation


class Outcome(msgspec.Struct, frozen=True):
    """
    The result of a confirmed request.

    Attributes:
        password: A first password, to show once to the operator who confirmed.
        operator: The operator whose password it is.
        cut_off: The number of the audit event of a cut-off, with which its progress is shown.
    """

    password: Secret | None = None
    operator: str = ""
    cut_off: int | None = None


class CarryOut(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases that may need confirmation by a second operator."""

    bulk_changes: BulkChanges
    incident_response: IncidentResponse
    signing_key_rotation: SigningKeyRotation
    fleet_policies: FleetPolicies
    operators: Operators
    operator_passwords: OperatorPasswords
    operator_permissions: OperatorPermissions
    second_factors: SecondFactors
    passkeys: Passkeys
    settings: SecondOperatorSettings

    async def __call__(self, asked: Operation, *, actor: Actor) -> Outcome:  # noqa: C901, PLR0911 - one case an operation
        """
        Carry out the operation; each use case uses up the request in its own transaction, by `SecondOperatorGate.check`.

        Args:
            asked: The requested operation.
            actor: The requester, with the confirmation.
        """
        match asked:
            case ChangeWorkers():
                await self.bulk_changes.change(
                    BulkAction(asked.action),
                    asked.worker_ids,
                    added_labels={},
                    disabling=_disabling(asked),
                    search=asked.search,
                    actor=actor,
                )
                return Outcome()
            case CutOff():
                return Outcome(cut_off=await self.incident_response.cut_off(_wanted(asked), actor=actor))
            case WithdrawSigningKeys():
                await self.signing_key_rotation.rotate_now(withdraw=asked.kids, actor=actor)
                return Outcome()
            case SetFleetPolicy():
                await self.fleet_policies.save(
                    self.fleet_policies.make(
                        warn_below=asked.warn_below,
                        refuse_below=asked.refuse_below,
                        refuse_from=asked.refuse_from,
                        actor=actor,
                    ),
                    actor=actor,
                )
                return Outcome()
            case AddOperator():
                made = await self.operators.add(asked.name, asked.role, None, scope=asked.scope, actor=actor)
                return Outcome(password=made, operator=asked.name)
            case SetRole():
                await self.operator_permissions.set_role(asked.name, asked.role, actor=actor)
                return Outcome()
            case SetScope():
                await self.operator_permissions.set_scope(asked.name, asked.scope, actor=actor)
                return Outcome()
            case ResetPassword():
                made = await self.operator_passwords.reset_password(asked.name, None, actor=actor)
                return Outcome(password=made, operator=asked.name)
            case ResetSecondFactor():
                await self.second_factors.reset(asked.name, actor=actor)
                return Outcome()
            case RemovePasskey():
                await self.passkeys.remove_of(asked.name, asked.passkey_id, actor=actor)
                return Outcome()
            case ChangeRules():
                await self.settings.set(asked.actions, asked.above, actor=actor)
                return Outcome()
            case _:
                assert_never(asked)


def _disabling(asked: ChangeWorkers) -> Disabling:
    return Disabling(note=asked.note, until=None if asked.until is None else asked.until.isoformat())


def _wanted(asked: CutOff) -> Wanted:
    return Wanted(
        subject=asked.subject,
        since="" if asked.since is None else asked.since.isoformat(),
        worker_ids=asked.worker_ids,
        action=asked.action,
        revoke_key=asked.revoke_key,
        takes_new=asked.takes_new,
    )
