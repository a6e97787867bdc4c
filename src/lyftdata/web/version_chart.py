"""
The plot of the fleet's agent versions over time: a layer for each version, the newest at the bottom, and a table with the same data.

Versions are texts reported by Workers: they are truncated, and only the most common ones of a period have their own layer.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

import msgspec

from lyftdata.core.fleet_policy import FleetPolicyRecord, VersionStanding
from lyftdata.core.versions import version_order
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.server.admin.schemas.fleet_policy import VersionHistory, VersionPeriod, VersionStep
from lyftdata.web.charts import Chart, Layer, Moment, Plot, Scale, Series
from lyftdata.web.zones import zone_name

POLICY_ACTIONS = ("fleet_policy.set", "fleet_policy.cleared")
_MAX_LAYERS = 6
_MAX_TEXT = 32
_MAX_SHADE = 3
# Layers lower than this, in units, have no room for their name.
_ROOM_FOR_TEXT = 14.0
# A day's step may be late by the hour that was first counted on that day.
_GAP_AFTER_STEPS = 1.5
# Changes of the policy closer together than this fraction of the plot share one mark.
_MARKS_APART = 8
_SCALES = {
    VersionPeriod.WEEK: Scale("week", timedelta(days=1), "%a %d", "hour"),
    VersionPeriod.QUARTER: Scale("13 weeks", timedelta(days=14), "%d %b", "day"),
    VersionPeriod.YEAR: Scale("year", timedelta(days=56), "%d %b", "day"),
}
_ROW_EVERY = {
    VersionPeriod.WEEK: timedelta(days=1),
    VersionPeriod.QUARTER: timedelta(days=7),
    VersionPeriod.YEAR: timedelta(days=28),
}
_OTHERS = None


class VersionKey(msgspec.Struct, frozen=True):
    """A line of the legend and a column of the table: the CSS classes of its layer, its text, and its current number of Workers."""

    kind: str
    text: str
    workers: int


class VersionRow(msgspec.Struct, frozen=True):
    """A row of the table: a time, and the number of Workers for each line of the legend."""

    at: datetime
    workers: Sequence[int]


class _Step(NamedTuple):
    left: float
    right: float
    low: float
    high: float


class VersionPlot(msgspec.Struct, frozen=True, kw_only=True):
    """The plot, its legend in the order of its layers from the top, and the table, the latest row first."""

    chart: Chart
    keys: Sequence[VersionKey]
    rows: Sequence[VersionRow]


def version_chart(
    history: VersionHistory,
    *,
    standing_of: Callable[[str], VersionStanding],
    moments: Sequence[Moment] = (),
    zone: tzinfo = UTC,
) -> VersionPlot:
    """
    Return the plot of a history.

    Args:
        history: The steps.
        standing_of: Returns the standing of a version under the current fleet policy.
        moments: Changes of the policy.
        zone: The zone of the displayed times.
    """
    scale = _SCALES[history.period]
    shown = _shown_versions(history.points)
    levels = [_levels(step, shown) for step in history.points]
    kinds = _kinds(shown, standing_of)
    texts = [_text_of(version) for version in shown]
    totals = [(step.at, sum(level)) for step, level in zip(history.points, levels, strict=True)]
    step = timedelta(seconds=history.step_s)
    plot = Plot(Series(scale, history.since, history.until, step, totals, zone))
    now = levels[-1] if levels else []
    chart = Chart(
        title="Workers by agent version",
        summary=_summary(scale.span, texts, levels),
        figures=f"{sum(now):,} now · {plot.highest:,} at most · {zone_name(zone)}",
        columns=plot.columns(),
        rows=plot.rows(),
        marks=[],
        layers=_layers(history, levels, plot, kinds, texts),
        is_empty=not any(number for _, number in totals),
        moments=plot.moments(_joined(moments, apart=(history.until - history.since) / _MARKS_APART)),
    )
    keys = [VersionKey(kind, text, number) for kind, text, number in zip(kinds, texts, now, strict=False)]
    rows = _rows(history.points, levels, every=_ROW_EVERY[history.period])
    return VersionPlot(chart=chart, keys=keys[::-1], rows=[VersionRow(at, level[::-1]) for at, level in rows])


def policy_moments(events: Sequence[AuditEvent], policy: FleetPolicyRecord | None) -> list[Moment]:
    """Return when the fleet policy was changed, and from when on it refuses."""
    moments = [Moment(event.at, _describe(event)) for event in events]
    if policy is not None and policy.refuse_from is not None and policy.refuse_from > policy.set_at:
        moments.append(Moment(policy.refuse_from, f"below {policy.refuse_below} refused"))
    return moments


def _describe(event: AuditEvent) -> str:
    if event.action == "fleet_policy.cleared":
        return "policy removed"
    bounds = ("warn_below", "refuse_below")
    said = [f"{name.replace('_', ' ')} {event.details[name]}" for name in bounds if name in event.details]
    return ", ".join(said)


def _joined(moments: Sequence[Moment], *, apart: timedelta) -> list[Moment]:
    """Return the moments, merging those close together into the last one: the plot shows the effect of that one."""
    found: list[Moment] = []
    for moment in sorted(moments, key=lambda one: one.at):
        if found and moment.at - found[-1].at < apart:
            found.pop()
        found.append(moment)
    return found


def _shown_versions(points: Sequence[VersionStep]) -> list[str | None]:
    """Return the versions that have a layer, the newest first, followed by no version, and all others."""
    most: dict[str, int] = {}
    for step in points:
        for count in step.versions:
            most[count.version] = max(most.get(count.version, 0), count.workers)
    common = sorted(most, key=lambda version: (-most[version], version))[:_MAX_LAYERS]
    common.sort(key=lambda version: (version_order(version), version), reverse=True)
    has_others = len(most) > len(common) or any(step.others for step in points)
    return [*common, _OTHERS] if has_others else [*common]


def _levels(step: VersionStep, shown: Sequence[str | None]) -> list[int]:
    """Return the number of Workers in each layer for a step."""
    workers = {count.version: count.workers for count in step.versions}
    named = [0 if version is _OTHERS else workers.get(version, 0) for version in shown]
    if _OTHERS in shown:
        named[-1] = step.others + sum(workers.values()) - sum(named)
    return named


def _kinds(shown: Sequence[str | None], standing_of: Callable[[str], VersionStanding]) -> list[str]:
    """Return the CSS classes of each layer: the standing of its version, and a lighter shade for each older one with that standing."""
    seen: dict[str, int] = {}
    kinds = []
    for version in shown:
        kind = "others" if version is _OTHERS else standing_of(version).value
        shade = seen[kind] = seen.get(kind, -1) + 1
        kinds.append(f"{kind} shade-{min(shade, _MAX_SHADE)}")
    return kinds


def _text_of(version: str | None) -> str:
    if version is _OTHERS:
        return "other versions"
    if not version:
        return "without a version"
    return version if len(version) <= _MAX_TEXT else f"{version[:_MAX_TEXT]}…"


def _layers(
    history: VersionHistory,
    levels: Sequence[Sequence[int]],
    plot: Plot,
    kinds: Sequence[str],
    texts: Sequence[str],
) -> list[Layer]:
    if not history.points:
        return []
    # Between steps, and from the last one until now, the numbers are those of the previous step.
    longest = timedelta(seconds=history.step_s) * _GAP_AFTER_STEPS
    times = [step.at for step in history.points]
    ends = [min(later, at + longest) for at, later in zip(times, [*times[1:], history.until], strict=True)]
    # What was before the period is drawn at its left edge.
    spans = [(plot.x(at), plot.x(end)) for at, end in zip(times, ends, strict=True)]
    layers = []
    for number, (kind, text) in enumerate(zip(kinds, texts, strict=True)):
        lows = [plot.y(sum(level[:number])) for level in levels]
        highs = [plot.y(sum(level[: number + 1])) for level in levels]
        path = "".join(_stretches(spans, lows, highs))
        if not path:
            continue
        # Right-to-left text would need more than SVG text supports.
        is_named = (
            lows[-1] - highs[-1] >= _ROOM_FOR_TEXT
            and ends[-1] == history.until
            and text.removesuffix("…").isascii()
        )
        label_at = round((lows[-1] + highs[-1]) / 2 + 4, 1) if is_named else None
        layers.append(Layer(path, kind, text, label_at))
    return layers


def _stretches(
    spans: Sequence[tuple[float, float]], lows: Sequence[float], highs: Sequence[float]
) -> Iterator[str]:
    """Yield the outline of each stretch with a value: forward along its top, and back along its bottom."""
    stretch: list[_Step] = []
    for (left, right), low, high in zip(spans, lows, highs, strict=True):
        if low <= high or right <= left:
            continue
        step = _Step(left, right, low, high)
        if stretch and stretch[-1].right != left:
            yield _outline(stretch)
            stretch = []
        if stretch and (stretch[-1].low, stretch[-1].high) == (low, high):
            step = _Step(stretch.pop().left, right, low, high)
        stretch.append(step)
    if stretch:
        yield _outline(stretch)


def _outline(stretch: Sequence[_Step]) -> str:
    over = "".join(f"V{step.high:.1f}H{step.right:.1f}" for step in stretch)
    under = "".join(f"V{step.low:.1f}H{step.left:.1f}" for step in reversed(stretch))
    return f"M{stretch[0].left:.1f} {stretch[0].low:.1f}{over}{under}Z"


def _rows(
    points: Sequence[VersionStep], levels: Sequence[Sequence[int]], *, every: timedelta
) -> list[tuple[datetime, Sequence[int]]]:
    """Return the last step, and earlier ones that are at least that far apart."""
    kept: list[tuple[datetime, Sequence[int]]] = []
    for step, level in zip(reversed(points), reversed(levels), strict=True):
        if not kept or kept[-1][0] - step.at >= every:
            kept.append((step.at, level))
    return kept


def _summary(span: str, texts: Sequence[str], levels: Sequence[Sequence[int]]) -> str:
    """Return what the plot shows in words, for screen readers."""
    if not levels:
        return ""
    changes = [
        f"{text}: {last:,}" if first == last else f"{text}: {last:,} now, {first:,} at first"
        for text, first, last in zip(texts, levels[0], levels[-1], strict=True)
        if first or last
    ]
    return f"Workers by agent version over the last {span}. {'; '.join(changes)}."
