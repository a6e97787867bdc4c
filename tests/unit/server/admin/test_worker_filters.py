"""Filters of many entries at once."""

from tests.builders import worker

from lyftdata.core.query_values import TextPattern
from lyftdata.core.worker_query import LabelMatch
from lyftdata.server.admin.worker_filters import (
    any_of,
    by_any_label,
    by_id,
    by_label,
    by_name,
    none_of,
    where,
)

PART = [
    worker("w-1", name="Press", labels={"zone": "eu-1"}),
    worker("w-2", name="binder", labels={"zone": "eu-2", "gpu": ""}),
    worker("w-3", name="pressing"),
]


def part_of(text):
    """Return a pattern for a part of a text."""
    return TextPattern((text,), is_whole=False)


def test_filters_are_joined_without_a_double_and_in_the_order_of_the_part():
    """A Worker that several leave is there once, and what none leaves is the rest."""
    press, second = by_name(part_of("press")), by_id({"w-2", "w-3"})

    assert any_of([second, press])(PART) == PART
    assert none_of([press])(PART) == [PART[1]]
    assert none_of([press, second])(PART) == []
    assert none_of([where(lambda _: False)])(PART) == PART
    assert any_of([by_id(()), press])(PART) == [PART[0], PART[2]]


def test_a_text_in_a_label_is_found_in_each_part():
    """What was compared in one part counts in the next; a text with `=`, or a wildcard, is compared with the whole label."""
    fits = by_any_label(part_of("gpu"))

    assert [fits(part) for part in (PART[:1], PART[1:], PART)] == [[], [PART[1]], [PART[1]]]
    assert by_any_label(part_of("zone=eu"))(PART) == PART[:2]
    assert by_any_label(part_of("e=eu-1"))(PART) == PART[:1]
    assert by_any_label(TextPattern(("z", "2"), is_whole=False))(PART) == [PART[1]]
    assert by_any_label(part_of("gpu="))(PART) == []


def test_a_label_without_a_value_is_not_one_that_is_missing():
    """`gpu=` finds the label that has no value, and not a Worker without the label."""
    nothing = TextPattern(("",), is_whole=True)

    assert by_label(LabelMatch("gpu", nothing))(PART) == [PART[1]]
    assert by_label(LabelMatch("zone", nothing))(PART) == []
    assert by_label(LabelMatch("zone", TextPattern(("eu-", ""), is_whole=True)))(PART) == PART[:2]
    assert by_label(LabelMatch("gpu"))(PART) == [PART[1]]
