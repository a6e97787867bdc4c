"""`lyftdata incident`: a leaked key is read from standard input, and goes no further."""

import pytest
from click.testing import CliRunner
from tests.builders import ENROLLMENT_KEY

from lyftdata.cli.main import cli
from lyftdata.core.incidents import find_public_id


def test_a_key_on_the_command_line_is_rejected_and_not_repeated():
    """Others can read it in the list of processes."""
    result = CliRunner().invoke(cli, ["incident", ENROLLMENT_KEY])

    assert result.exit_code == 2
    assert ENROLLMENT_KEY[-20:] not in result.output


def test_text_on_standard_input_that_holds_no_key_is_named_as_such():
    """Nothing is asked of the Server."""
    result = CliRunner().invoke(cli, ["incident", "-"], input="nothing to see\n")

    assert result.exit_code == 1
    assert "no API key and no enrollment key" in result.output


@pytest.mark.parametrize(
    ("text", "public_id"),
    [
        (ENROLLMENT_KEY, ENROLLMENT_KEY[16:26]),
        (f"export LYFTDATA_AUTO_ENROLLMENT_KEY='{ENROLLMENT_KEY}'\n", ENROLLMENT_KEY[16:26]),
        ("lyftdata_AAAAAAAAAA_0123456789abcdefghijABCDEFGHIJ01xxxxxx", "AAAAAAAAAA"),
        ("press-keys", None),
        ("lyftdata_AAAAAAAAAA", None),
    ],
)
def test_of_a_leaked_key_only_the_public_id_is_used(text, public_id):
    """Wherever in a text the key is."""
    assert find_public_id(text) == public_id


@pytest.mark.parametrize("option", ["--delete", "--keep-key"])
def test_options_of_a_cut_off_without_one_are_rejected(option):
    """Otherwise the report alone would look like a cut-off."""
    result = CliRunner().invoke(cli, ["incident", "press-keys", option])

    assert result.exit_code == 2
    assert "--cut-off" in result.output


@pytest.mark.parametrize("targets", [("all", "press-01"), ("none", "press-01"), ("all", "none")])
def test_all_and_none_are_given_alone(targets):
    """A mix says two things at once."""
    options = [part for each in targets for part in ("--cut-off", each)]
    result = CliRunner().invoke(cli, ["incident", "press-keys", *options])

    assert result.exit_code == 2
    assert "given alone" in result.output
