"""
Computes plots over time as shapes that a template draws; pure.

A plot has one series, a baseline of zero, round gridlines and a sentence for screen readers. Steps in which
the Server did not run are gaps, not zeros.

Shapes are in a box of `WIDTH` by `HEIGHT` units that is stretched to the available space; texts are positioned next to it,
horizontally in per cent and vertically in units, so that they keep their size.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from lyftdata.server.admin.schemas.status import History, HistoryPoint, Period
from lyftdata.server.admin.schemas.workers import TokenCounts
from lyftdata.web.zones import zone_name

WIDTH, HEIGHT = 1000.0, 120.0
# The number of the highest gridline is above it; ticks too close to an edge would be cut off.
_TOP = 14.0
_NO_TICK_WITHIN = 0.04
_BAR_OF_STEP = 0.7
# Marks closer together than this fraction of the plot would overlap.
_MARKS_APART = 0.12
# A midnight, from which ticks are counted.
_ROUND = datetime(2001, 1, 1)  # noqa: DTZ001 - of the wall clock in any zone


class Tick(msgspec.Struct, frozen=True):
    """A position on an axis, and its label: horizontally in per cent, vertically in units."""

    at: float
    text: str


class Moment(msgspec.Struct, frozen=True):
    """An event at a point in time that may explain what a plot shows."""

    at: datetime
    text: str


class Layer(msgspec.Struct, frozen=True):
    """One of several stacked areas: an SVG path, the CSS classes that fill it, and the position of its name if there is room."""

    path: str
    kind: str
    text: str
    label_at: float | None


class Scale(msgspec.Struct, frozen=True):
    """A division of time: what the whole span is called, the distance and format of ticks, and what a step is called."""

    span: str
    tick: timedelta
    tick_text: str
    step: str


_SCALES = {
    Period.HOUR: Scale("hour", timedelta(minutes=10), "%H:%M", "minute"),
    Period.DAY: Scale("day", timedelta(hours=4), "%H:%M", "10 minutes"),
    Period.WEEK: Scale("week", timedelta(days=1), "%a %d", "hour"),
}


class Mark(msgspec.Struct, frozen=True):
    """One step: the position of its bar or its column of the line, and its text."""

    x: float
    y: float
    width: float
    height: float
    text: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything a template needs to draw a plot.

    `line` and `area` are SVG paths, one for each stretch without gaps; `layers` are stacked, the lowest first; `figures` has the main values as text. `expected` is a level
    to compare with, `moments` are points in time at which something happened.
    """

    title: str
    summary: str
    figures: str
    columns: list[Tick]
    rows: list[Tick]
    marks: list[Mark]
    line: str = ""
    area: str = ""
    layers: Sequence[Layer] = ()
    is_empty: bool = False
    expected: Tick | None = None
    moments: list[Tick] = []


class Series(msgspec.Struct, frozen=True):
    """The value of each step, the oldest first; missing steps are gaps."""

    scale: Scale
    since: datetime
    until: datetime
    step: timedelta
    points: Sequence[tuple[datetime, int]]
    zone: tzinfo = UTC


def line_chart(
    title: str,
    history: History,
    value: Callable[[HistoryPoint], int],
    *,
    now: int | None = None,
    expected: int | None = None,
    moments: Sequence[Moment] = (),
    zone: tzinfo = UTC,
) -> Chart:
    """
    Return a plot of a level, such as how many Workers are connected.

    Args:
        title: What it shows.
        history: The steps.
        value: Returns the level of a step: its maximum.
        now: The current level; by default that of the last step.
        expected: The level to compare with.
        moments: Events that may explain a change.
        zone: The zone of the displayed times.
    """
    plot = Plot(_series(history, value, zone), at_least=expected or 0)
    stretches = plot.stretches()
    line = " ".join(_path(stretch) for stretch in stretches)
    area = " ".join(
        f"{_path(stretch)} L{stretch[-1][0]:.1f} {plot.base:.1f} L{stretch[0][0]:.1f} {plot.base:.1f} Z"
        for stretch in stretches
    )
    if now is None:
        now = plot.values[-1] if plot.values else 0
    lowest = min(now, plot.lowest)
    return Chart(
        title=title,
        summary=f"{title} over the last {history.period}: {now:,} now, {plot.highest:,} at most, {lowest:,} at least."
        + (f" {expected:,} are expected now." if expected is not None else ""),
        figures=f"{now:,} now · {plot.highest:,} at most · {lowest:,} at least · {zone_name(zone)}",
        columns=plot.columns(),
        rows=plot.rows(),
        marks=plot.marks(whole_height=True),
        line=line,
        area=area,
        is_empty=not plot.values,
        expected=None if expected is None else plot.level(expected, f"expected {expected:,}"),
        moments=plot.moments(moments),
    )


def bar_chart(
    title: str, history: History, value: Callable[[HistoryPoint], int], *, zone: tzinfo = UTC
) -> Chart:
    """Return a plot of how often something happened in each step."""
    return _bars(title, _series(history, value, zone))


def token_chart(title: str, week: TokenCounts, *, zone: tzinfo = UTC) -> Chart:
    """Return a plot of how many tokens were issued in each hour of a week."""
    points = [(hour.at, hour.tokens) for hour in week.hours]
    return _bars(
        title, Series(_SCALES[Period.WEEK], week.since, week.until, timedelta(hours=1), points, zone)
    )


def _series(history: History, value: Callable[[HistoryPoint], int], zone: tzinfo) -> Series:
    step = timedelta(seconds=history.step_s)
    points = [(point.at, value(point)) for point in history.points]
    return Series(_SCALES[history.period], history.since, history.until, step, points, zone)


def _bars(title: str, series: Series) -> Chart:
    plot = Plot(series)
    every = series.scale.step
    return Chart(
        title=f"{title} per {every}",
        figures=f"{sum(plot.values):,} in all · {plot.highest:,} at most · {zone_name(series.zone)}",
        summary=f"{title} over the last {series.scale.span}: {sum(plot.values):,} in all, {plot.highest:,} at most in one step.",
        columns=plot.columns(),
        rows=plot.rows(),
        marks=plot.marks(whole_height=False),
        is_empty=not any(plot.values),
    )


class Plot:
    """The axes of a plot, and the positions of times and numbers in its box."""

    def __init__(self, series: Series, *, at_least: int = 0) -> None:
        self._series = series
        self._step = series.step
        self._points = [(at, number) for at, number in series.points if at + series.step > series.since]
        self.values = [number for _, number in self._points]
        self.highest = max(self.values, default=0)
        self.lowest = min(self.values, default=0)
        self._top = _round_up(max(self.highest, at_least))
        self.base = HEIGHT

    def stretches(self) -> list[list[tuple[float, float]]]:
        """Return the points of the line, split where steps are missing."""
        found: list[list[tuple[float, float]]] = []
        before: datetime | None = None
        for at, number in self._points:
            if before is None or at - before > self._step:
                found.append([])
            found[-1].append((self.x(at), self.y(number)))
            before = at
        # A single step has no length: draw it as wide as it lasted.
        width = self._width() * _BAR_OF_STEP
        return [
            [*stretch, (stretch[0][0] + width, stretch[0][1])] if len(stretch) == 1 else stretch
            for stretch in found
        ]

    def marks(self, *, whole_height: bool) -> list[Mark]:
        """Return a mark for each step: the bar, or for a line the column in which a pointer shows its text."""
        width = self._width() * (1.0 if whole_height else _BAR_OF_STEP)
        marks = []
        for at, number in self._points:
            y = _TOP if whole_height else self.y(number)
            text = f"{at.astimezone(self._series.zone):%a %H:%M}: {number:,}"
            marks.append(
                Mark(round(self.x(at), 1), round(y, 1), round(width, 2), round(self.base - y, 1), text)
            )
        return marks if whole_height else [mark for mark in marks if mark.height > 0]

    def rows(self) -> list[Tick]:
        """Return the gridlines: zero, the middle and the top, if they are whole numbers."""
        numbers = [0, self._top // 2, self._top] if self._top % 2 == 0 else [0, self._top]
        return [Tick(round(self.y(number), 1), f"{number:,}") for number in numbers]

    def level(self, number: int, text: str) -> Tick:
        """Return the position of a level, in units from the top."""
        return Tick(round(self.y(number), 1), text)

    def moments(self, moments: Sequence[Moment]) -> list[Tick]:
        """Return the positions of moments, in per cent; those too close to a later one are merged with it."""
        found: list[Tick] = []
        for moment in sorted(moments, key=lambda one: one.at):
            share = self._share(moment.at)
            if not 0 < share <= 1:
                continue
            if found and share - found[-1].at / 100 < _MARKS_APART:
                before = found.pop()
                text = before.text if moment.text in before.text else f"{before.text}, {moment.text}"
                found.append(Tick(before.at, text))
                continue
            found.append(Tick(round(share * 100, 2), moment.text))
        return found

    def columns(self) -> list[Tick]:
        """Return the positions of round times."""
        every = self._series.scale.tick
        zone = self._series.zone
        # Steps of the wall clock: midnight stays midnight when the clocks change.
        wall = self._series.since.astimezone(zone).replace(tzinfo=None)
        end = self._series.until.astimezone(zone).replace(tzinfo=None)
        wall += every - (wall - _ROUND) % every
        ticks = []
        while wall <= end:
            at = wall.replace(tzinfo=zone).astimezone(UTC)
            share = self._share(at)
            # A time skipped in spring does not exist.
            is_real = at.astimezone(zone).replace(tzinfo=None) == wall
            if is_real and _NO_TICK_WITHIN <= share <= 1 - _NO_TICK_WITHIN:
                ticks.append(Tick(round(share * 100, 2), wall.strftime(self._series.scale.tick_text)))
            wall += every
        return ticks

    def _share(self, at: datetime) -> float:
        return max(0.0, (at - self._series.since) / (self._series.until - self._series.since))

    def x(self, at: datetime) -> float:
        """Return the horizontal position of a time, in units; times before the period are at its beginning."""
        return self._share(at) * WIDTH

    def y(self, number: int) -> float:
        """Return the vertical position of a number, in units from the top."""
        return self.base - number / self._top * (self.base - _TOP)

    def _width(self) -> float:
        return self._step / (self._series.until - self._series.since) * WIDTH


def _round_up(number: int) -> int:
    """Return the smallest round number (1, 2, 4, 5, 8 or 10 times a power of ten) that is at least this number."""
    if number <= 1:
        return 1
    power: int = 10 ** math.floor(math.log10(number))
    return next(round_ * power for round_ in (1, 2, 4, 5, 8, 10) if round_ * power >= number)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
