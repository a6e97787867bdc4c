"""What is carried out is what was requested, or less of it."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.builders import NOON

from lyftdata.core.change_requests import (
    AddOperator,
    ChangeRules,
    ChangeWorkers,
    CutOff,
    RemovePasskey,
    ResetPassword,
    ResetSecondFactor,
    SetFleetPolicy,
    SetRole,
    SetScope,
    WithdrawSigningKeys,
    decode_operation,
    described,
    encode_operation,
)
from lyftdata.core.policy import ACTIONS
from lyftdata.core.records import Role

CUT_OFF = CutOff(
    subject="api-key:press-keys",
    since=None,
    action="disable",
    worker_ids=["w-1", "w-2"],
    takes_new=True,
    revoke_key=True,
)
ONE: dict[str, Any] = {"name": "ada", "created_at": NOON}
# One of each operation, with part of its statement.
OPERATIONS = [
    (ChangeWorkers(action="delete", worker_ids=["w-1", "w-2"], search="zone=eu-2"), "Delete 2 Workers"),
    (ChangeWorkers(action="disable", worker_ids=["w-1"]), "Disable Worker w-1."),
    (
        ChangeWorkers(action="disable", worker_ids=["w-1"], note="its disk", until=NOON),
        "UTC, with the note 'its disk'.",
    ),
    (CUT_OFF, "disable 2 Workers, and those that enroll with it until then. Revoke the key."),
    (WithdrawSigningKeys(kids=["k1"]), "Withdraw the signing key k1"),
    (
        SetFleetPolicy(warn_below="1.4", refuse_below="1.2", refuse_from=NOON, replaces="warn below 1.1"),
        "Refuse agents below version 1.2 from 2026-",
    ),
    (AddOperator(name="ada", role=Role.ADMIN, scope={"team": "etl"}), "ada as admin, limited to team=etl"),
    (SetRole(**ONE, role=Role.ADMIN, scope=None), "Make the operator ada an admin, without a limit"),
    (
        SetScope(**ONE, scope=None, was={"team": "etl"}, role=Role.VIEWER),
        "without a limit instead of limited",
    ),
    (ResetPassword(**ONE), "Reset the password of the operator ada"),
    (ResetSecondFactor(**ONE), "Remove every second factor of the operator ada"),
    (RemovePasskey(**ONE, passkey_id="p", passkey="desk"), "Remove the passkey 'desk'"),
    (ChangeRules(actions=[], above=1, actions_were=["delete_workers"], above_was=1), "Turn off"),
]


@pytest.mark.parametrize(("operation", "said"), OPERATIONS)
def test_an_operation_describes_itself_and_survives_storage(operation, said):
    """Encoding and decoding it changes nothing, its statement names the effect, and the policy table has its action."""
    assert decode_operation(encode_operation(operation)) == operation
    assert said in operation.statement
    assert operation.policy_action in ACTIONS
    assert operation.is_within(operation)
    assert described(operation)["action"] == operation.protected.value


def test_every_kind_of_operation_is_tested_above():
    """A new kind must be added to the table."""
    from lyftdata.core import change_requests

    kinds = set(change_requests.Operation.__args__)
    assert {type(operation) for operation, _ in OPERATIONS} == kinds


@pytest.mark.parametrize(("first", "_"), OPERATIONS)
def test_an_operation_is_never_within_a_different_one(first, _):
    """For every pair of the table."""
    for other, _said in OPERATIONS:
        if other != first:
            assert not other.is_within(first)


def test_fewer_workers_are_within_a_request_and_others_are_not():
    """Some of the Workers may be gone by then; an additional Worker or another action was not requested."""
    asked = ChangeWorkers(action="delete", worker_ids=["w-1", "w-2"])

    for ids, is_within in ((["w-2"], True), (["w-1", "w-2"], True), (["w-1", "w-3"], False), ([], False)):
        assert ChangeWorkers(action="delete", worker_ids=ids).is_within(asked) is is_within
        assert not ChangeWorkers(action="disable", worker_ids=ids).is_within(asked)
        assert not ChangeWorkers(action="delete", worker_ids=ids, note="x").is_within(asked)
    for changed, is_within in (
        ({"worker_ids": ["w-1"]}, True),
        ({"worker_ids": ["w-3"]}, False),
        ({"revoke_key": False}, False),
        ({"action": "delete"}, False),
        ({"since": NOON}, False),
        ({"subject": "api-key:others"}, False),
    ):
        assert msgspec.structs.replace(CUT_OFF, **changed).is_within(CUT_OFF) is is_within


def test_a_request_about_an_operator_does_not_apply_to_a_later_namesake():
    """An operator who was deleted and created again under the same name is another operator."""
    asked = ResetPassword(**ONE)

    assert not ResetPassword(name="ada", created_at=NOON + timedelta(seconds=1)).is_within(asked)
