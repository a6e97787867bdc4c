"""A pattern stands for the names of many Workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.name_patterns import MAX_NAMES, expand_worker_ids, expand_worker_names, is_name_pattern


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("press-[1-3]", ["press-1", "press-2", "press-3"]),
        ("press-[01-03]", ["press-01", "press-02", "press-03"]),
        ("press-[8-11]", ["press-8", "press-9", "press-10", "press-11"]),
        ("press-[098-101]", ["press-098", "press-099", "press-100", "press-101"]),
        ("press-[7-7]", ["press-7"]),
        ("rack-[1-2].eu-1 north", ["rack-1.eu-1 north", "rack-2.eu-1 north"]),
        ("[1-2]", ["1", "2"]),
        ("press-[ 1 - 2 ]", ["press-1", "press-2"]),
        ("old [v2] [1-2]", ["old [v2] 1", "old [v2] 2"]),
        ("  press-[1-2]  ", ["press-1", "press-2"]),
        ("é[1-2]", ["é1", "é2"]),
    ],
)
def test_a_range_expands_to_names(pattern, names):
    """Leading zeros set the width, text may follow, and each name is normalized like any other."""
    assert is_name_pattern(pattern)
    assert expand_worker_names(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("press-01", "must hold a range"),
        ("", "must hold a range"),
        ("press-[01]", "must hold a range"),
        ("press-[2-1]", "goes backwards: [2-1]"),
        ("rack-[1-2]-[1-2]", "one range"),
        ("press-[-]", "range of numbers"),
        ("press-[1-]", "range of numbers"),
        ("press-[a-c]", "range of numbers"),
        ("press-[\u0660-\u0669]", "range of numbers"),
        ("press-[1-1000000000]", "at most 9 digits"),
        (f"press-[1-{MAX_NAMES + 1}]", "at most 500 Workers, and this stands for 501"),
        ("press-[1-999999999]", "at most 500 Workers"),
        ("p" * 63 + "[01-02]", "1 to 64 printable"),
        ("press\u200b[1-2]", "1 to 64 printable"),
        ("p" * 80 + "[1-2]", "at most 80 characters"),
    ],
)
def test_an_invalid_pattern_is_rejected_with_the_reason(pattern, problem):
    """No range, two ranges, a backwards one, too many names, and names that break the rules for names."""
    with pytest.raises(InvalidInputError) as refused:
        expand_worker_names(pattern)

    assert refused.value.field == "name"
    assert problem in refused.value.message


def test_ids_follow_the_rules_for_ids():
    """A name may contain a space, an ID may not."""
    assert expand_worker_ids("press-[01-02]", size=2) == ["press-01", "press-02"]
    with pytest.raises(InvalidInputError) as refused:
        expand_worker_ids("press [01-02]", size=2)
    assert refused.value.field == "id"


def test_a_pattern_of_ids_must_have_as_many_as_that_of_names():
    """Otherwise a Worker would have no ID, or an ID no Worker."""
    with pytest.raises(InvalidInputError) as refused:
        expand_worker_ids("press-[01-03]", size=2)

    assert (refused.value.field, refused.value.message) == ("id", "stands for 3 Workers, and the name for 2")


@pytest.mark.parametrize("text", ["press-01", "web [v2]", "a-b", "[]", "press-[01..20]"])
def test_text_without_a_range_is_a_single_name(text):
    """Brackets alone do not make a pattern."""
    assert not is_name_pattern(text)


@given(
    before=st.text("ab-. ", max_size=5),
    after=st.text("ab-. ", max_size=5),
    first=st.integers(0, 99_999),
    size=st.integers(1, MAX_NAMES),
    width=st.integers(1, 6),
)
def test_every_number_of_the_range_has_one_name(before, after, first, size, width):
    """There are as many names as numbers, all different, in order, and none narrower than the first number."""
    names = expand_worker_names(f"{before}[{first:0{width}}-{first + size - 1}]{after}")

    start, end = before.lstrip(), after.rstrip()
    numbers = [name.removeprefix(start).removesuffix(end) for name in names]
    assert list(map(int, numbers)) == list(range(first, first + size))
    assert len(set(names)) == size
    assert all(
        len(number) == max(len(f"{first:0{width}}"), len(number.lstrip("0") or "0")) for number in numbers
    )
