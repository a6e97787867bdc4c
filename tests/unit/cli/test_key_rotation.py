"""Until when the old key works, as given on the command line."""

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from lyftdata.cli.key_rotation import ends_in, parse_previous_end
from lyftdata.cli.main import cli


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--until", "tomorrow"), "ISO 8601 with its zone"),
        (("--until", "2027-01-31T06:00"), "ISO 8601 with its zone"),
        (("--until", "2027-01-31T06:00Z", "--grace", "1h"), "--grace cannot be combined with --until"),
        (("--grace", "soon"), "--grace must be like"),
        (("--grace", "91d"), "--grace must be from 0"),
        (("--until", "2020-01-31T06:00Z"), "--until must be in the future"),
        (("--until", "2920-01-31T06:00Z"), "at most 90 days from now"),
    ],
)
@pytest.mark.parametrize("command", ["api-key", "enrollment"])
def test_the_end_of_the_old_key_is_checked_before_any_request(command, arguments, problem):
    """A time without a zone is ambiguous; both kinds of keys are rotated with the same options."""
    result = CliRunner().invoke(cli, [command, "rotate", "some-key", "--yes", *arguments])

    assert result.exit_code == 2
    assert problem in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("grace", "until", "body", "words"),
    [
        (None, None, {"grace_s": 0}, "at once"),
        ("0s", None, {"grace_s": 0}, "at once"),
        ("24h", None, {"grace_s": 86_400}, "in 24h"),
        (
            None,
            "2027-01-31T07:00+01:00",
            {"ends_at": "2027-01-31T07:00:00+01:00"},
            "at 2027-01-31 06:00:00 UTC",
        ),
    ],
)
def test_the_request_matches_the_question(grace, until, body, words):
    """The confirmation names the time at which the old key ends."""
    assert parse_previous_end(grace, until, now=lambda: datetime(2027, 1, 1, tzinfo=UTC)) == (body, words)


def test_the_countdown_is_short():
    """It starts with the largest unit; the previous key from the settings has no end."""
    assert ends_in({"ends_in_s": 5400}) == "ends in 1h30m"
    assert ends_in({"ends_in_s": None}) == "has no end"
