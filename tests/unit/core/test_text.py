"""Text from untrusted callers is made safe to show."""

import pytest

from lyftdata.core.text import parse_reference


@pytest.mark.parametrize(
    "unverified",
    ["A; rm -rf $HOME", "`id`", "$(id)", "A B", "A\n", "", "A" * 33, "\u0661", None, 7, ["A"]],
)
def test_a_malformed_reference_is_not_shown(unverified):
    """People paste references into a shell after `lyftdata refusals show`."""
    assert parse_reference(unverified) == ""


def test_a_valid_reference_is_kept():
    """It has the form that the Server generates."""
    assert parse_reference("7K2M9QXD") == "7K2M9QXD"
