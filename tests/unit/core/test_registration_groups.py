"""Which registrations belong together, and which of them were replaced by a later one of the same client."""

from datetime import timedelta

import pytest
from tests.builders import NOON, worker

from lyftdata.core.records import Approval, Strategy
from lyftdata.core.registration_groups import find_groups, name_family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("press", "press"),
        ("press-02", "press-02"),
        ("web01", "web01"),
        ("node12.rack7", "node12.rack7"),
        ("build agent 3", "build agent 3"),
        ("etl-7d9f8b6c5d-x2x9z", "etl-*"),
        ("etl-7d9f8b6c5d-bvbxz", "etl-*"),
        ("job-550e8400-e29b-41d4-a716-446655440000", "job-*"),
        ("nightly_20261129_eu", "nightly_*_eu"),
        ("a1b2c3d4", "*"),
    ],
)
def test_generated_parts_of_a_name_are_ignored(name, family):
    """Random strings and times are treated as one; words, and numbers that count hosts, are not."""
    assert name_family(name) == family


def registration(number, **fields):
    """Return the entry of a third-party client that registered that many minutes after noon."""
    given = {
        "name": "reports",
        "strategy": Strategy.AUTO_ENROLLMENT,
        "created_at": NOON + timedelta(minutes=number),
        "enrolled_from": "10.4.0.9",
        "registration_digest": bytes(32),
    }
    return worker(f"w-{number}", **(given | fields))


def replaced(entries, *, used=None, after=timedelta(hours=9)):
    """Return the IDs of the replaced entries by group."""
    groups = find_groups(entries, last_used=used or {}, now=NOON + after)
    return [[entry.id for entry in group.replaced] for group in groups]


def test_all_but_the_newest_are_replaced():
    """Each start of the client registered another entry and did not use the previous one again."""
    entries = [registration(number) for number in range(7)]

    assert replaced(entries) == [["w-5", "w-4", "w-3", "w-2", "w-1", "w-0"]]
    (group,) = find_groups(entries, last_used={}, now=NOON + timedelta(hours=9))
    assert (group.name, group.address) == ("reports", "10.4.0.9")
    assert group.latest_at == NOON + timedelta(minutes=6)


def test_fewer_than_five_replaced_entries_are_not_a_group():
    """Hosts may be set up again a few times."""
    assert replaced([registration(number) for number in range(5)]) == []


@pytest.mark.parametrize(
    "other",
    [
        {"enrolled_from": "10.9.0.9"},
        {"name": "billing"},
        {"enabled": False},
        {"registration_digest": None},
        {"approval": Approval.PENDING},
        {"strategy": Strategy.API_KEY},
    ],
)
def test_an_entry_that_differs_does_not_belong_to_the_group(other):
    """Another network, another name, a disabled entry, an agent's, one that waits for approval, one with an API key."""
    entries = [registration(number) for number in range(6)]
    entries[2] = registration(2, **other)

    assert replaced(entries) == []


def test_an_entry_that_is_in_use_is_not_replaced():
    """Its client keeps it if it was used recently, or more than a day after it was created."""
    entries = [registration(number) for number in range(8)]
    used = {
        "w-1": NOON + timedelta(days=3),
        "w-2": NOON + timedelta(days=4) - timedelta(minutes=90),
        "w-3": NOON + timedelta(minutes=40),
    }

    found = replaced(entries, used=used, after=timedelta(days=4))

    assert found == [["w-6", "w-5", "w-4", "w-3", "w-0"]]


def test_superseded_entries_of_agents_are_replaced():
    """Containers without a volume enroll under the same name at each start; the entry that holds the name is not in the group."""
    entries = [
        registration(number, registration_digest=None, superseded_by=f"w-{number + 1}") for number in range(6)
    ]

    assert replaced(entries, after=timedelta(minutes=10)) == [["w-5", "w-4", "w-3", "w-2", "w-1", "w-0"]]
