"""Builds the parts for confirmation by a second operator."""

import msgspec

from lyftdata.server.admin.bulk_changes import BulkChanges
from lyftdata.server.admin.fleet_policy import FleetPolicies
from lyftdata.server.admin.second_operator.carry_out import CarryOut
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.second_operator.requests import ChangeRequests
from lyftdata.server.admin.second_operator.rules import SecondOperatorSettings
from lyftdata.server.admin.signing_key_rotation import SigningKeyRotation
from lyftdata.server.runtime.wiring.admission import AdmissionParts
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.runtime.wiring.incidents import IncidentParts
from lyftdata.server.runtime.wiring.operators import OperatorParts
from lyftdata.server.runtime.wiring.read_models import ReadModels


class SecondOperatorParts(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases that pass the gate and are built here, and the one that decides about requests."""

    bulk_changes: BulkChanges
    fleet_policies: FleetPolicies
    signing_key_rotation: SigningKeyRotation
    settings: SecondOperatorSettings
    requests: ChangeRequests


def build_second_operator(
    basis: Basis,
    gate: SecondOperatorGate,
    *,
    admission: AdmissionParts,
    operators: OperatorParts,
    read_models: ReadModels,
    incidents: IncidentParts,
) -> SecondOperatorParts:
    """Build the parts from the use cases that may need confirmation."""
    store, clock, known_secrets = basis.store, basis.clock, admission.known_secrets
    bulk_changes = BulkChanges(
        queries=read_models.worker_queries, known_secrets=known_secrets, gate=gate, store=store, clock=clock
    )
    fleet_policies = FleetPolicies(store=store, gate=gate, clock=clock)
    signing_key_rotation = SigningKeyRotation(signing_keys=admission.signing_keys, gate=gate)
    settings = SecondOperatorSettings(store=store, gate=gate, clock=clock)
    carry_out = CarryOut(
        bulk_changes=bulk_changes,
        incident_response=incidents.response,
        signing_key_rotation=signing_key_rotation,
        fleet_policies=fleet_policies,
        operators=operators.operators,
        operator_passwords=operators.operator_passwords,
        operator_permissions=operators.operator_permissions,
        second_factors=operators.second_factors,
        passkeys=operators.passkeys,
        settings=settings,
    )
    return SecondOperatorParts(
        bulk_changes=bulk_changes,
        fleet_policies=fleet_policies,
        signing_key_rotation=signing_key_rotation,
        settings=settings,
        requests=ChangeRequests(store=store, carry_out=carry_out, known_secrets=known_secrets, clock=clock),
    )
