"""Names of many Workers in one text."""

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
def test_a_range_becomes_names(pattern, names):
    """Leading zeros are kept as the width; text may follow; each name is stored as the rule of names gives it."""
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
def test_what_is_no_pattern_is_refused_with_its_reason(pattern, problem):
    """No range, two, a backwards one, too many, and names that break the rule of names."""
    with pytest.raises(InvalidInputError) as refused:
        expand_worker_names(pattern)

    assert refused.value.field == "name"
    assert problem in refused.value.message


def test_ids_have_their_own_rule():
    """A name may hold a blank, an ID may not."""
    assert expand_worker_ids("press-[01-02]", size=2) == ["press-01", "press-02"]
    with pytest.raises(InvalidInputError) as refused:
        expand_worker_ids("press [01-02]", size=2)
    assert refused.value.field == "id"


def test_there_are_as_many_ids_as_names():
    """Otherwise a Worker would have none, or an ID would be for none."""
    with pytest.raises(InvalidInputError) as refused:
        expand_worker_ids("press-[01-03]", size=2)

    assert (refused.value.field, refused.value.message) == ("id", "stands for 3 Workers, and the name for 2")


@pytest.mark.parametrize("text", ["press-01", "web [v2]", "a-b", "[]", "press-[01..20]"])
def test_other_text_is_a_name(text):
    """Brackets alone do not make several names of one."""
    assert not is_name_pattern(text)


@given(
    before=st.text("ab-. ", max_size=5),
    after=st.text("ab-. ", max_size=5),
    first=st.integers(0, 99_999),
    size=st.integers(1, MAX_NAMES),
    width=st.integers(1, 6),
)
def test_every_number_of_the_range_has_one_name(before, after, first, size, width):
    """As many names as numbers, all different, in order, and none narrower than the first number was written."""
    names = expand_worker_names(f"{before}[{first:0{width}}-{first + size - 1}]{after}")

    start, end = before.lstrip(), after.rstrip()
    numbers = [name.removeprefix(start).removesuffix(end) for name in names]
    assert list(map(int, numbers)) == list(range(first, first + size))
    assert len(set(names)) == size
    assert all(
        len(number) == max(len(f"{first:0{width}}"), len(number.lstrip("0") or "0")) for number in numbers
    )
