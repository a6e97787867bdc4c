"""Versions as agents report them are parsed and ordered; the order of PEP 440 is checked against `packaging`."""

import itertools

import pytest
from packaging.version import Version as Pep440Version

from lyftdata.core.versions import Version, parse_version

IN_ORDER = [
    "0.9",
    "1.0.dev1",
    "1.0.dev2",
    "1.0a1.dev1",
    "1.0a1",
    "1.0a2",
    "1.0b1",
    "1.0rc1.dev3",
    "1.0rc1",
    "1.0rc10",
    "1.0",
    "1.0.post1.dev1",
    "1.0.post1",
    "1.0.post2",
    "1.0.1",
    "1.2",
    "1.10",
    "2027.3.1",
]


def test_versions_are_ordered_as_in_pep_440():
    """Each is lower than all that follow it, and `packaging` agrees."""
    read = {text: parse_version(text) or Version(()) for text in IN_ORDER}
    for lower, higher in itertools.combinations(IN_ORDER, 2):
        assert read[lower] < read[higher], (lower, higher)
        assert Pep440Version(lower) < Pep440Version(higher), (lower, higher)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1.4.0", "1.4"),
        ("v1.4", "1.4"),
        (" 1.4 ", "1.4"),
        ("1.4.0-beta.2", "1.4b2"),
        ("1.4-rc.1", "1.4rc1"),
        ("1.4.2+git.abc", "1.4.2"),
        ("1.4.2-1.el9", "1.4.2"),
        ("0", "0.0.0"),
    ],
)
def test_different_spellings_of_a_version_are_equal(text, same):
    """Trailing zeros, SemVer's pre-releases, and suffixes that a distribution adds."""
    assert parse_version(text) == parse_version(same)


@pytest.mark.parametrize("text", ["", "unknown", "latest", "x1.4", "-1", "1" * 10, "\u0661.\u0664"])
def test_a_malformed_version_has_no_order(text):
    """It is neither lower nor higher than another one."""
    assert parse_version(text) is None


def test_a_hostile_version_is_parsed_quickly():
    """Of any length that a Worker may report."""
    assert parse_version("1" + "." * 127) is not None
    assert parse_version("1." * 64) is not None
