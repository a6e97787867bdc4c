"""Durations as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core.durations import describe_span, format_duration, largest_unit, nearest_unit, parse_duration
from lyftdata.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("1h30m", 5400), ("90d", 7776000), (" 2H ", 7200)]
)
def test_units_of_a_duration_are_added_up(text, seconds):
    """Spaces around it and upper case are accepted."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "-1m", "1.5h", "1w", "1h 30m", "٣m", "1" * 10 + "s", "36501d", "999999999d" * 2]
)
def test_an_invalid_duration_is_rejected(text):
    """A number without a unit too, since the unit would be a guess."""
    with pytest.raises(InvalidInputError):
        parse_duration(text)


@given(st.integers(0, 10**8))
def test_a_formatted_duration_can_be_parsed(seconds):
    """It results in the same duration."""
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("seconds", "down", "nearest"),
    [
        (43_199, (11, "h"), (12, "h")),
        (43_200, (12, "h"), (12, "h")),
        (3_599, (59, "m"), (1, "h")),
        (86_399, (23, "h"), (1, "d")),
        (5_399, (1, "h"), (1, "h")),
        (5_400, (1, "h"), (2, "h")),
        (29, (29, "s"), (29, "s")),
        (0, (0, "s"), (0, "s")),
    ],
)
def test_future_durations_are_rounded_and_past_ones_rounded_down(seconds, down, nearest):
    """A past duration has lasted at least that long; a future one is shown as it was set, not as one unit less a moment later."""
    assert (largest_unit(seconds), nearest_unit(seconds)) == (down, nearest)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "no time"), (1, "1 second"), (61, "1 minute 1 second"), (86_400, "1 day"), (90_061, "1 day 1 hour")],
)
def test_a_span_is_described_in_words(seconds, words):
    """With at most two units, each in singular or plural."""
    assert describe_span(timedelta(seconds=seconds)) == words
