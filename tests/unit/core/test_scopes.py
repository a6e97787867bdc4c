"""Which objects are within a scope."""

import pytest
from tests.builders import NOON, api_key, worker

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.records import EnrollmentKeyRecord, ResourceRecord
from lyftdata.core.scopes import (
    UNLIMITED,
    Scope,
    covers_api_key,
    covers_enrollment_key,
    covers_resource,
    narrow_labels,
    parse_scope,
    scope_of,
)

ETL = scope_of({"team": "etl"})
BOTH = scope_of({"team": "etl", "zone": "eu"})
FLEET = {
    "mine-1": worker("mine-1", labels={"team": "etl", "zone": "eu"}),
    "mine-2": worker("mine-2", labels={"team": "etl"}),
    "other": worker("other", labels={"team": "ops"}),
    "bare": worker("bare", labels={}),
}
find = FLEET.get


@pytest.mark.parametrize(
    ("scope", "labels", "is_within"),
    [
        (UNLIMITED, {}, True),
        (ETL, {"team": "etl"}, True),
        (ETL, {"team": "etl", "gpu": ""}, True),
        (ETL, {}, False),
        (ETL, {"team": ""}, False),
        (ETL, {"team": "etl2"}, False),
        (ETL, {"team": "ETL"}, False),
        (ETL, {"Team": "etl"}, False),
        (BOTH, {"team": "etl"}, False),
        (BOTH, {"team": "etl", "zone": "eu"}, True),
        (ETL.narrowed(scope_of({"team": "ops"})), {"team": "etl"}, False),
        (Scope(is_limited=True), {"team": "etl"}, False),
        (Scope(is_limited=True), {}, False),
    ],
)
def test_a_worker_is_within_a_scope_if_it_has_every_label(scope, labels, is_within):
    """Labels are compared exactly; a contradictory scope, or one without labels, covers no Worker."""
    assert scope.covers(labels) is is_within


def test_a_missing_worker_is_only_within_an_unlimited_scope():
    """A deleted Worker belongs to no team."""
    assert not ETL.covers_worker(None)
    assert UNLIMITED.covers_worker(None)


@pytest.mark.parametrize(
    ("inner", "outer", "is_within"),
    [
        (ETL, UNLIMITED, True),
        (UNLIMITED, UNLIMITED, True),
        (UNLIMITED, ETL, False),
        (ETL, ETL, True),
        (BOTH, ETL, True),
        (ETL, BOTH, False),
        (scope_of({"team": "ops"}), ETL, False),
    ],
)
def test_a_scope_is_within_another_if_it_has_all_its_labels(inner, outer, is_within):
    """More labels cover fewer Workers."""
    assert inner.is_within(outer) is is_within
    assert inner.narrowed(outer).is_within(outer)
    assert inner.narrowed(outer).is_within(inner)


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        (None, None, None),
        (None, {"team": "etl"}, {"team": "etl"}),
        ({"team": "etl"}, None, {"team": "etl"}),
        ({"team": "etl"}, {"zone": "eu"}, {"team": "etl", "zone": "eu"}),
        ({"team": "etl"}, {"team": "etl"}, {"team": "etl"}),
    ],
)
def test_a_scope_that_is_passed_on_is_never_wider(own, given, expected):
    """The caller's own labels are added to the requested ones."""
    assert narrow_labels(own, given) == expected


@pytest.mark.parametrize("labels", [{}, {"": "x"}, {"team": "a,b"}])
def test_a_scope_needs_valid_labels(labels):
    """An empty one could be read as a limit or as none."""
    with pytest.raises(InvalidInputError):
        parse_scope(labels)
    with pytest.raises(InvalidInputError):
        narrow_labels({"team": "etl"}, labels)


def test_a_scope_that_contradicts_the_callers_is_an_error():
    """Otherwise its token could do nothing, for no visible reason."""
    with pytest.raises(InvalidInputError, match="team=etl"):
        narrow_labels({"team": "etl"}, {"team": "ops"})


@pytest.mark.parametrize(
    ("worker_ids", "is_within"),
    [
        ({"mine-1"}, True),
        ({"mine-1", "mine-2"}, True),
        ({"mine-1", "other"}, False),
        ({"mine-1", "bare"}, False),
        ({"mine-1", "gone"}, False),
        (set(), False),
        (None, False),
    ],
)
def test_a_key_is_within_a_scope_if_every_worker_that_may_use_it_is(worker_ids, is_within):
    """Not if it is shared with others, for all Workers or for none. Every generation counts."""
    mine = api_key(for_all_workers=False, worker_ids=("mine-1",))
    key = api_key(for_all_workers=worker_ids is None, worker_ids=tuple(sorted(worker_ids or ())))

    assert covers_api_key(ETL, [key], find) is is_within
    assert covers_api_key(ETL, [mine, key], find) is is_within
    assert covers_api_key(UNLIMITED, [key], find)
    assert not covers_api_key(ETL, [], find)


@pytest.mark.parametrize(
    ("labels", "is_within"),
    [({"team": "etl"}, True), ({"team": "etl", "gpu": ""}, True), ({"team": "ops"}, False), ({}, False)],
)
def test_an_enrollment_key_is_within_a_scope_if_it_sets_the_scopes_labels(labels, is_within):
    """Only then is every Worker that it enrolls within the scope."""
    key = EnrollmentKeyRecord(
        public_id="a",
        name="hosts",
        public_key="k",
        digest=b"",
        labels=labels,
        created_at=NOON,
        created_by="x",
    )

    assert covers_enrollment_key(ETL, [key]) is is_within
    assert covers_enrollment_key(UNLIMITED, [key])
    assert not covers_enrollment_key(ETL, [])


@pytest.mark.parametrize(
    ("scope", "fields", "is_within"),
    [
        (ETL, {"labels": ["team=etl"]}, True),
        (ETL, {"worker_ids": ["mine-1", "mine-2"]}, True),
        (ETL, {"worker_ids": ["mine-1"], "labels": ["team=etl"]}, True),
        (ETL, {"labels": ["team=etl", "team=ops"]}, False),
        (ETL, {"labels": ["team"]}, False),
        (ETL, {"labels": ["zone=eu"]}, False),
        (BOTH, {"labels": ["team=etl"]}, False),
        (ETL, {"worker_ids": ["other"]}, False),
        (ETL, {"worker_ids": ["gone"]}, False),
        (ETL, {"worker_names": ["mine-1"]}, False),
        (ETL, {"labels": ["team=etl"], "for_all_workers": True}, False),
        (ETL, {}, False),
    ],
)
def test_a_resource_is_within_a_scope_if_no_other_worker_can_match_it(scope, fields, is_within):
    """Whatever Workers are added later, and whatever their names are."""
    resource = ResourceRecord(name="lake", audience="lake", created_at=NOON, created_by="x", **fields)

    assert covers_resource(scope, resource, find) is is_within
    assert covers_resource(UNLIMITED, resource, find)
