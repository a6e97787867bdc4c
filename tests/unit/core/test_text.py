"""Tests of what makes text of untrusted callers safe to show."""

import pytest

from lyftdata.core.text import parse_reference


@pytest.mark.parametrize(
    "unverified",
    ["A; rm -rf $HOME", "`id`", "$(id)", "A B", "A\n", "", "A" * 33, "\u0661", None, 7, ["A"]],
)
def test_what_is_not_a_reference_is_not_shown_as_one(unverified):
    """People paste it into a shell after `lyftdata refusals show`."""
    assert parse_reference(unverified) == ""


def test_a_reference_is_kept():
    """As the Server makes it."""
    assert parse_reference("7K2M9QXD") == "7K2M9QXD"
