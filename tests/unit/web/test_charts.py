"""Charts over time show exactly what was recorded."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import NOON

from lyftdata.server.admin.schemas.status import History, HistoryPoint, Period
from lyftdata.web.charts import HEIGHT, WIDTH, bar_chart, line_chart


def history(values, *, period=Period.HOUR, step_s=60):
    """Return the last hour; a value of None is a minute in which the Server did not run."""
    since = NOON - timedelta(hours=1)
    points = [
        HistoryPoint(at=since + timedelta(seconds=n * step_s), online=value, admitted=value, refused=0)
        for n, value in enumerate(values)
        if value is not None
    ]
    return History(period=period, since=since, until=NOON, step_s=step_s, points=points)


def online(point):
    """Return the value that the charts draw."""
    return point.online


def test_downtime_of_the_server_is_a_gap_in_the_line():
    """The line has two segments and does not drop to zero in between."""
    plot = line_chart("Workers connected", history([5] * 20 + [None] * 10 + [7] * 30), online)

    assert plot.line.count("M") == 2
    assert f" {HEIGHT:.1f}" not in plot.line


def test_a_single_minute_is_visible():
    """A Server that has just started shows a short line, not a point of no length."""
    plot = line_chart("Workers connected", history([None] * 59 + [3]), online)

    assert plot.line.count("L") == 1


def test_an_empty_chart_says_that_it_is_empty():
    """Both without any row and, for events, with rows that count none; zero connected Workers are a value."""
    assert line_chart("Workers connected", history([]), online).is_empty
    assert bar_chart("Refusals", history([0] * 60), online).is_empty
    assert not line_chart("Workers connected", history([0] * 60), online).is_empty


def test_a_chart_has_a_text_summary():
    """For readers who cannot see it: the current value, maximum and minimum, or the sum."""
    values = history([1, 2, 12_345, 4])
    assert line_chart("Workers connected", values, online).summary == (
        "Workers connected over the last hour: 4 now, 12,345 at most, 1 at least."
    )
    assert bar_chart("Admissions", values, online).summary == (
        "Admissions over the last hour: 12,352 in all, 12,345 at most in one step."
    )


@pytest.mark.parametrize(
    ("highest", "rows"),
    [
        (0, ["0", "1"]),
        (1, ["0", "1"]),
        (2, ["0", "1", "2"]),
        (3, ["0", "2", "4"]),
        (5, ["0", "5"]),
        (9, ["0", "5", "10"]),
        (10_000, ["0", "5,000", "10,000"]),
        (10_001, ["0", "10,000", "20,000"]),
    ],
)
def test_gridlines_are_round_integers(highest, rows):
    """There are no half Workers, and no value is above the top line."""
    plot = line_chart("Workers connected", history([highest]), online)
    assert [row.text for row in plot.rows] == rows


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**9)), max_size=60))
def test_every_shape_stays_within_the_chart(values):
    """For any values; no bar has a negative height."""
    for plot in (line_chart("x", history(values), online), bar_chart("x", history(values), online)):
        for mark in plot.marks:
            assert 0 <= mark.x <= mark.x + mark.width <= WIDTH + 0.2
            assert 0 <= mark.y <= mark.y + mark.height <= HEIGHT + 0.2
        assert all(0 < column.at < 100 for column in plot.columns)
