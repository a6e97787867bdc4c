"""Recorded enrollments are replayed against other rules of their key."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.builders import NOON

from lyftdata.core.enrollment_rehearsal import (
    Attempt,
    Generation,
    Outcome,
    Rules,
    key_life,
    replay,
    rotation_end,
)
from lyftdata.core.records import EnrollmentKeyRecord, EnrollmentMode

DAY = timedelta(days=1)
NETWORK, NAME = "enrollment_network_not_allowed", "enrollment_name_not_allowed"
EXPIRED, USED_UP = "enrollment_key_expired", "enrollment_key_used_up"


def key(**fields):
    """Return the record of an enrollment key."""
    values: dict[str, Any] = {
        "public_id": "AAAAAAAAAA",
        "name": "etl-hosts",
        "public_key": "x" * 43,
        "digest": bytes(32),
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return EnrollmentKeyRecord(**values | fields)


def attempt(name="etl-1", *, days=0, outcome=Outcome.ADMITTED, fingerprint="one", **fields):
    """Return an attempt that many days after the key was issued."""
    values = {"at": NOON + days * DAY, "address": "10.4.1.2", "worker_name": name}
    return Attempt(**values | {"outcome": outcome, "fingerprint": fingerprint} | fields)


def replayed(attempts, *, generations=None, expires_in=None, **rules):
    """Return the outcome and the codes of each attempt."""
    found = replay(
        attempts,
        generations or {"one": Generation(begins_at=NOON)},
        Rules(key=key(**rules), expires_in=expires_in),
    )
    return [(one.outcome.value, *one.codes) for one in found]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, ("admitted",)),
        ({"networks": ["10.4.0.0/16"], "worker_name": "etl-*"}, ("admitted",)),
        ({"networks": ["192.0.2.0/24"]}, ("refused", NETWORK)),
        ({"worker_name": "press-*"}, ("refused", NAME)),
        ({"networks": ["192.0.2.0/24"], "worker_name": "press-*"}, ("refused", NETWORK, NAME)),
        ({"worker_name": "press-*", "mode": EnrollmentMode.WARN}, ("warned", NAME)),
        ({"worker_name": "press-*", "mode": EnrollmentMode.APPROVE}, ("refused", NAME)),
        ({"mode": EnrollmentMode.APPROVE}, ("pending",)),
        ({"mode": EnrollmentMode.APPROVE, "approve_name": "etl-*"}, ("admitted",)),
        ({"mode": EnrollmentMode.APPROVE, "approve_networks": ["192.0.2.0/24"]}, ("pending",)),
    ],
)
def test_each_rule_decides_as_in_an_enrollment(rules, expected):
    """Network, name and mode, with the code that a refusal would have."""
    assert replayed([attempt()], **rules) == [expected]


@pytest.mark.parametrize(("days", "expected"), [(6.9, ("admitted",)), (7, ("refused", EXPIRED))])
def test_a_lifetime_starts_when_the_key_was_issued(days, expected):
    """It ends in the second in which the key would have expired."""
    assert replayed([attempt(days=days)], expires_in=7 * DAY) == [expected]


def test_uses_are_counted_in_order_and_only_for_admitted_attempts():
    """An attempt that another rule refuses does not count; uses before the first recorded attempt do."""
    attempts = [attempt("press-1", days=1), attempt("etl-1", days=2), attempt("etl-2", days=3)]
    before = {"one": Generation(begins_at=NOON, uses_before=1)}

    assert replayed(attempts, max_uses=1, worker_name="etl-*") == [
        ("refused", NAME),
        ("admitted",),
        ("refused", USED_UP),
    ]
    assert replayed(attempts, max_uses=2, generations=before) == [
        ("admitted",),
        ("refused", USED_UP),
        ("refused", USED_UP),
    ]


def test_repeated_attempts_of_one_host_count_as_one_use():
    """Had its first attempt been admitted, it would not have tried again; two admitted Workers of the same name count as two."""
    refused = [attempt("etl-1", days=day, outcome=Outcome.REFUSED, codes=(NETWORK,)) for day in (1, 2, 3)]
    admitted = [attempt("etl-1", days=day) for day in (1, 2)]

    assert replayed([*refused, attempt("etl-2", days=4)], max_uses=2) == [("admitted",)] * 4
    assert replayed(admitted, max_uses=1) == [("admitted",), ("refused", USED_UP)]


def test_refusals_for_other_reasons_stay():
    """A revoked key, and a generation whose grace period was over, refuse under any rules; each generation has its own uses."""
    generations = {
        "one": Generation(begins_at=NOON, ended_at=NOON + 2 * DAY),
        "two": Generation(begins_at=NOON + DAY),
    }
    attempts = [
        attempt(days=1.9),
        attempt(days=2),
        attempt(days=2, fingerprint="two"),
        attempt(days=9, fingerprint="two", outcome=Outcome.REFUSED, codes=("enrollment_key_revoked",)),
        attempt(days=9, fingerprint="of another key"),
    ]

    assert replayed(attempts, generations=generations, max_uses=1) == [
        ("admitted",),
        ("refused", EXPIRED),
        ("admitted",),
        ("refused", "enrollment_key_revoked"),
    ]


@pytest.mark.parametrize(
    ("recorded", "worker_name", "newly_refused", "newly_let_in"),
    [
        (Outcome.ADMITTED, "press-*", True, False),
        (Outcome.WARNED, "press-*", True, False),
        (Outcome.PENDING, "press-*", True, False),
        (Outcome.REFUSED, "press-*", False, False),
        (Outcome.REFUSED, "etl-*", False, True),
        (Outcome.ADMITTED, "etl-*", False, False),
    ],
)
def test_only_changed_outcomes_are_marked(recorded, worker_name, newly_refused, newly_let_in):
    """A warned or pending Worker counts as admitted; one that was refused before is not newly refused."""
    rules = Rules(key=key(worker_name=worker_name), expires_in=None)

    (one,) = replay([attempt(outcome=recorded)], {"one": Generation(begins_at=NOON)}, rules)

    assert (one.is_newly_refused, one.is_newly_let_in) == (newly_refused, newly_let_in)


@pytest.mark.parametrize(
    ("life", "expires_at", "rotated_at", "end"),
    [
        (None, None, None, None),
        (7 * DAY, NOON + 7 * DAY, None, None),
        (None, NOON + 2 * DAY, NOON + DAY, NOON + 2 * DAY),
        (7 * DAY, NOON + 2 * DAY, NOON + DAY, NOON + 2 * DAY),
        (7 * DAY, NOON + 7 * DAY, NOON + 6 * DAY, None),
    ],
)
def test_an_end_set_by_a_rotation_differs_from_an_expiry(life, expires_at, rotated_at, end):
    """A longer lifetime does not prolong a generation that was rotated before it expired."""
    assert rotation_end(key(expires_at=expires_at, rotated_at=rotated_at), life=life) == end


def test_the_lifetime_of_a_key_is_that_of_its_newest_generation():
    """Older ones may have been shortened by a rotation."""
    older = key(expires_at=NOON + DAY, rotated_at=NOON)
    newest = msgspec.structs.replace(older, generation=2, created_at=NOON, expires_at=NOON + 7 * DAY)

    assert key_life([newest, older]) == 7 * DAY
    assert key_life([key()]) is None
