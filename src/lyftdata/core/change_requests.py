"""
Change requests: what one operator asks for and another confirms.

An operation records what the Server would do, as computed when it was requested: the IDs of the Workers, and the state that it
replaces. On confirmation the operation is computed again from the state at that time, and must be the same one, or a part of it
if Workers are gone meanwhile. So nothing is carried out that was not shown.

    pending --another operator confirms--> confirmed     carried out, in the same transaction
            --another operator declines--> declined
            --the requester withdraws----> withdrawn
            --24 hours-------------------> expired
            --the requester's account or credentials change--> void
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

import msgspec

from lyftdata.core.names import format_labels
from lyftdata.core.records import Labels, Role
from lyftdata.core.second_operator import ProtectedAction
from lyftdata.core.structs import prepare_structs
from lyftdata.core.text import count
from lyftdata.core.times import format_time

MAX_REASON = 500
MAX_PENDING = 200
MAX_PENDING_OF_ONE = 20
MAX_MADE_OF_ONE = 100
"""Limit within the lifetime of a request: each may name thousands of Workers, and is kept for a month even if it was withdrawn."""


class RequestState(StrEnum):
    """The state of a request."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    VOID = "void"


class _Operation(msgspec.Struct, frozen=True, kw_only=True):
    """
    Something that the Server is to do.

    `protected` is the rule that makes it wait, `policy_action` the permission that the confirming operator needs. Each kind has a
    `statement`, one sentence that says what it does.
    """

    protected: ClassVar[ProtectedAction]
    policy_action: ClassVar[str]

    @property
    def workers(self) -> Sequence[str]:
        """Return the IDs of the Workers that it deletes or disables."""
        return ()

    def is_within(self, asked: "Operation") -> bool:
        """Return whether this does no more than what was asked for."""
        return self == asked


class ChangeWorkers(_Operation, frozen=True, kw_only=True, tag="change_workers"):
    """Disable or delete Workers; `search` is the search that found them, if any; `note` and `until` go with disabling."""

    action: Literal["disable", "delete"]
    worker_ids: list[str]
    search: str | None = None
    note: str | None = None
    until: datetime | None = None

    @property
    def protected(self) -> ProtectedAction:  # type: ignore[override]  # by what is done
        """Return the rule that makes it wait."""
        return _protected_by(self.action)

    @property
    def policy_action(self) -> str:  # type: ignore[override]  # by what is done
        """Return the permission that the confirming operator needs."""
        return "workers.delete" if self.action == "delete" else "workers.write"

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        found = f" that were found by '{self.search}'" if self.search else ""
        until = "" if self.until is None else f", until {format_time(self.until)}"
        note = f", with the note '{self.note}'" if self.note else ""
        return f"{self.action.capitalize()} {_named(self.worker_ids)}{found}{until}{note}."

    @property
    def workers(self) -> Sequence[str]:
        """Return the IDs of the Workers."""
        return self.worker_ids

    def is_within(self, asked: "Operation") -> bool:
        """Return whether this is the same change of the requested Workers; some may be gone, or disabled already."""
        return (
            isinstance(asked, ChangeWorkers)
            and bool(self.worker_ids)
            and set(self.worker_ids) <= set(asked.worker_ids)
            and msgspec.structs.replace(self, worker_ids=asked.worker_ids) == asked
        )


class CutOff(_Operation, frozen=True, kw_only=True, tag="cut_off"):
    """
    Cut off the Workers of an incident; with `takes_new` also those that enroll with its key until the request is confirmed.
    """

    policy_action: ClassVar[str] = "incident.write"

    subject: str
    since: datetime | None
    action: Literal["disable", "delete"]
    worker_ids: list[str]
    takes_new: bool
    revoke_key: bool

    @property
    def protected(self) -> ProtectedAction:  # type: ignore[override]  # by what is done
        """Return the rule that makes it wait."""
        return _protected_by(self.action)

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        new = ", and those that enroll with it until then" if self.takes_new else ""
        key = " Revoke the key." if self.revoke_key else ""
        return f"Incident {self.subject}: {self.action} {_named(self.worker_ids)}{new}.{key}"

    @property
    def workers(self) -> Sequence[str]:
        """Return the IDs of the Workers."""
        return self.worker_ids

    def is_within(self, asked: "Operation") -> bool:
        """Return whether this is the cut-off that was asked for; some Workers may be gone."""
        return (
            isinstance(asked, CutOff)
            and set(self.worker_ids) <= set(asked.worker_ids)
            and msgspec.structs.replace(self, worker_ids=asked.worker_ids) == asked
        )


class WithdrawSigningKeys(_Operation, frozen=True, kw_only=True, tag="withdraw_signing_keys"):
    """Withdraw signing keys: every token that they have signed is void."""

    protected: ClassVar[ProtectedAction] = ProtectedAction.WITHDRAW_SIGNING_KEY
    policy_action: ClassVar[str] = "signing_keys.withdraw"

    kids: list[str]

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        noun = "signing key" if len(self.kids) == 1 else "signing keys"
        return f"Withdraw the {noun} {', '.join(self.kids)}; every token signed with it is void, and another key signs at once."


class SetFleetPolicy(_Operation, frozen=True, kw_only=True, tag="set_fleet_policy"):
    """Set a fleet policy that refuses agents. `replaces` is the policy before, "" for none."""

    protected: ClassVar[ProtectedAction] = ProtectedAction.REFUSE_AGENTS
    policy_action: ClassVar[str] = "fleet_policy.write"

    warn_below: str
    refuse_below: str
    refuse_from: datetime
    replaces: str

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        warned = f"; warn those below {self.warn_below}" if self.warn_below else ""
        before = f" It replaces: {self.replaces}." if self.replaces else ""
        return f"Refuse agents below version {self.refuse_below} from {format_time(self.refuse_from)} on{warned}.{before}"


class AddOperator(_Operation, frozen=True, kw_only=True, tag="add_operator"):
    """Add an operator; the confirming operator is shown the first password."""

    protected: ClassVar[ProtectedAction] = ProtectedAction.MANAGE_OPERATORS
    policy_action: ClassVar[str] = "operators.write"

    name: str
    role: Role
    scope: Labels | None

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        return f"Add the operator {self.name} as {self.role.value}, {_limit(self.scope)}."


class _OfOperator(_Operation, frozen=True, kw_only=True):
    """A change of one operator: the one who was added at that time, not another who got the name later."""

    protected: ClassVar[ProtectedAction] = ProtectedAction.MANAGE_OPERATORS
    policy_action: ClassVar[str] = "operators.write"

    name: str
    created_at: datetime


class SetRole(_OfOperator, frozen=True, kw_only=True, tag="set_role"):
    """Make an operator an admin."""

    role: Role
    scope: Labels | None

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        return f"Make the operator {self.name} an {self.role.value}, {_limit(self.scope)}."


class SetScope(_OfOperator, frozen=True, kw_only=True, tag="set_scope"):
    """Widen or remove the limit of an operator."""

    scope: Labels | None
    was: Labels | None
    role: Role

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        return f"Let the {self.role.value} {self.name} be {_limit(self.scope)} instead of {_limit(self.was)}."


class ResetPassword(_OfOperator, frozen=True, kw_only=True, tag="reset_password"):
    """Give an operator a new first password, which is shown to the confirming operator."""

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        return f"Reset the password of the operator {self.name}; their sessions end, and their API tokens are revoked."


class ResetSecondFactor(_OfOperator, frozen=True, kw_only=True, tag="reset_second_factor"):
    """Remove every second factor of an operator."""

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        return f"Remove every second factor of the operator {self.name}; their sessions end."


class RemovePasskey(_OfOperator, frozen=True, kw_only=True, tag="remove_passkey"):
    """Remove a passkey of an operator."""

    passkey_id: str
    passkey: str

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        return f"Remove the passkey '{self.passkey}' of the operator {self.name}; their sessions end."


class ChangeRules(_Operation, frozen=True, kw_only=True, tag="change_rules"):
    """Relax the rules about what a second operator must confirm; empty `actions` turns them off."""

    protected: ClassVar[ProtectedAction] = ProtectedAction.RELAX_RULES
    policy_action: ClassVar[str] = "second_operator.write"

    actions: list[str]
    above: int
    actions_were: list[str]
    above_was: int

    @property
    def statement(self) -> str:
        """Return the sentence that says what it does."""
        if not self.actions:
            return "Turn off that a second operator confirms anything."
        dropped = [action for action in self.actions_were if action not in self.actions]
        parts = [f"Do not ask a second operator any more for: {', '.join(dropped)}."] if dropped else []
        if self.above != self.above_was:
            parts.append(
                f"Let one operator delete or disable {self.above:,} Workers within an hour, and not {self.above_was:,}."
            )
        return " ".join(parts)


Operation = (
    ChangeWorkers
    | CutOff
    | WithdrawSigningKeys
    | SetFleetPolicy
    | AddOperator
    | SetRole
    | SetScope
    | ResetPassword
    | ResetSecondFactor
    | RemovePasskey
    | ChangeRules
)

_DECODER: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(Operation)


def encode_operation(operation: Operation) -> str:
    """Return the stored form of an operation; equal operations give equal text."""
    return msgspec.json.encode(operation, order="deterministic").decode()


def decode_operation(text: str) -> Operation:
    """Read the output of `encode_operation`."""
    return _DECODER.decode(text)


class ChangeRequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A request as it is stored; its operation never changes.

    Attributes:
        id: 12 hexadecimal digits; not a secret.
        operation: As returned by `encode_operation`.
        operator: The requester; for an API token, the operator for whom it acts.
        api_token: The name of the API token that made the request; None for a session.
        requester_mark: The state of the operator's account and credentials at that time (`requester_mark`).
        scope: The labels that the requester was limited to at that time; None for no limit.
        address: The requester's address.
        event: The number of the request's audit event.
        reason: The reason that the requester gave.
        state: As stored; a pending request may have expired, or be void.
        decided_by: Who decided, as the audit log names them; None until then.
        note: The note given with the decision.
    """

    id: str
    operation: str
    operator: str
    api_token: str | None
    requester_mark: str
    scope: Labels | None
    address: str
    event: int
    reason: str
    requested_at: datetime
    expires_at: datetime
    state: RequestState = RequestState.PENDING
    decided_at: datetime | None = None
    decided_by: str | None = None
    note: str = ""

    @property
    def asked(self) -> Operation:
        """Return the operation that was asked for."""
        return decode_operation(self.operation)

    @property
    def audit_name(self) -> str:
        """Return the requester's name in the audit log."""
        return f"operator:{self.operator}" if self.api_token is None else f"api_token:{self.api_token}"


prepare_structs(ChangeRequestRecord)

VOIDING = frozenset(
    {
        "operator.deleted",
        "operator.emergency_access",
        "operator.passkey_added",
        "operator.passkey_removed",
        "operator.password_set",
        "operator.role_set",
        "operator.scope_set",
        "operator.second_factor_added",
        "operator.second_factor_removed",
        "operator.second_factor_reset",
        "operator.sessions_ended",
        "operator.sign_in_refused",
    }
)
"""Audit actions about an operator that make their earlier requests void."""
ENDED_BY_OTHERS = "operator.session_ended"
"""Makes them void too if someone else ended the session; an operator who signs out keeps their requests."""


def described(operation: Operation) -> dict[str, str]:
    """Return the details of an operation for the audit log; the Workers are named by the events that change them."""
    workers = {"workers": str(len(operation.workers))} if operation.workers else {}
    return {"action": operation.protected.value, "statement": operation.statement} | workers


def _protected_by(action: str) -> ProtectedAction:
    return ProtectedAction.DELETE_WORKERS if action == "delete" else ProtectedAction.DISABLE_WORKERS


def _named(worker_ids: Collection[str]) -> str:
    ids = list(worker_ids)
    return f"Worker {ids[0]}" if len(ids) == 1 else count(len(ids), "Worker")


def _limit(scope: Mapping[str, str] | None) -> str:
    return "without a limit" if scope is None else f"limited to {format_labels(scope)}"
