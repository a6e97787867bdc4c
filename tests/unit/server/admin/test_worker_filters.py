"""Filters over many entries at once."""

from hypothesis import given
from hypothesis import strategies as st
from tests.builders import worker

from lyftdata.core.query_values import TextPattern, fold
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
from lyftdata.server.admission.directory import Directory

PART = [
    worker("w-1", name="Press", labels={"zone": "eu-1"}),
    worker("w-2", name="binder", labels={"zone": "eu-2", "gpu": ""}),
    worker("w-3", name="pressing"),
]


def part_of(text):
    """Return a pattern that matches part of a text."""
    return TextPattern((text,), is_whole=False)


def test_combined_filters_return_each_worker_once_and_in_order():
    """A Worker that matches several filters is returned once; `none_of` returns the Workers that match none."""
    press, second = by_name(part_of("press")), by_id({"w-2", "w-3"})

    assert any_of([second, press])(PART) == PART
    assert none_of([press])(PART) == [PART[1]]
    assert none_of([press, second])(PART) == []
    assert none_of([where(lambda _: False)])(PART) == PART
    assert any_of([by_id(set()), press])(PART) == [PART[0], PART[2]]


def by_text(pattern, workers):
    """Return a filter for a text in any label of these Workers."""
    return by_any_label(pattern, Directory(workers, ()).label_texts)


def test_a_text_is_found_in_any_label():
    """A text with `=` or a wildcard is compared with the whole label."""
    fits = by_text(part_of("gpu"), PART)

    assert [fits(part) for part in (PART[:1], PART[1:], PART)] == [[], [PART[1]], [PART[1]]]
    assert by_text(part_of("zone=eu"), PART)(PART) == PART[:2]
    assert by_text(part_of("e=eu-1"), PART)(PART) == PART[:1]
    assert by_text(TextPattern(("z", "2"), is_whole=False), PART)(PART) == [PART[1]]
    assert by_text(part_of("gpu="), PART)(PART) == []


TEXTS = st.sampled_from(("gpu", "GPU", "zone", "eu-1", "Straße", "a=b", "line\nbreak"))
LABELS = st.dictionaries(TEXTS, st.one_of(st.just(""), TEXTS), max_size=3)
PATTERNS = st.builds(
    TextPattern,
    st.lists(st.sampled_from(("gpu", "ss", "=", "e=", "1", "\n", "")), min_size=1, max_size=2).map(tuple),
    is_whole=st.booleans(),
)


@given(st.lists(LABELS, max_size=6), st.lists(LABELS, max_size=2), PATTERNS)
def test_searching_many_labels_finds_the_same_as_searching_each(labels, others, pattern):
    """Also if the fleet has more labels than the Workers that are searched."""
    part = [worker(f"w-{number}", labels=each) for number, each in enumerate(labels)]
    outside = [worker(f"x-{number}", labels=each) for number, each in enumerate(others)]
    alone = [
        one
        for one in part
        if any(pattern.matches(fold(f"{k}={v}" if v else k)) for k, v in one.labels.items())
    ]

    assert by_text(pattern, part + outside)(part) == alone


def test_a_label_without_a_value_differs_from_a_missing_label():
    """`gpu=` finds the label without a value, not a Worker without the label."""
    nothing = TextPattern(("",), is_whole=True)

    assert by_label(LabelMatch("gpu", nothing))(PART) == [PART[1]]
    assert by_label(LabelMatch("zone", nothing))(PART) == []
    assert by_label(LabelMatch("zone", TextPattern(("eu-", ""), is_whole=True)))(PART) == PART[:2]
    assert by_label(LabelMatch("gpu"))(PART) == [PART[1]]
