"""`lyftdata incident` reads a leaked key from standard input, and sends only its public ID."""

import pytest
from click.testing import CliRunner
from tests.builders import ENROLLMENT_KEY

from lyftdata.cli.main import cli
from lyftdata.core.incidents import find_public_id


def test_a_key_on_the_command_line_is_rejected_and_not_repeated():
    """Other users can read it in the list of processes."""
    result = CliRunner().invoke(cli, ["incident", ENROLLMENT_KEY])

    assert result.exit_code == 2
    assert ENROLLMENT_KEY[-20:] not in result.output


def test_standard_input_without_a_key_is_an_error():
    """No request is sent."""
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
def test_only_the_public_id_of_a_leaked_key_is_used(text, public_id):
    """Wherever the key is in the text."""
    assert find_public_id(text) == public_id


@pytest.mark.parametrize("option", ["--delete", "--keep-key"])
def test_cut_off_options_need_a_cut_off(option):
    """Otherwise a mere report could be mistaken for a cut-off."""
    result = CliRunner().invoke(cli, ["incident", "press-keys", option])

    assert result.exit_code == 2
    assert "--cut-off" in result.output


@pytest.mark.parametrize("targets", [("all", "press-01"), ("none", "press-01"), ("all", "none")])
def test_all_and_none_cannot_be_combined(targets):
    """A combination would be contradictory."""
    options = [part for each in targets for part in ("--cut-off", each)]
    result = CliRunner().invoke(cli, ["incident", "press-keys", *options])

    assert result.exit_code == 2
    assert "given alone" in result.output
