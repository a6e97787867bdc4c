"""The chart of agent versions over time shows what was recorded, and its table has the same numbers."""

import re
from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.fleet_policy import FleetPolicyRecord, VersionStanding
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.server.admin.schemas.fleet_policy import (
    VersionCount,
    VersionHistory,
    VersionPeriod,
    VersionStep,
)
from lyftdata.web.charts import HEIGHT, WIDTH, Moment
from lyftdata.web.version_chart import policy_moments, version_chart

HOUR = timedelta(hours=1)


def history(steps, *, period=VersionPeriod.WEEK, step=HOUR, length=timedelta(days=7)):
    """Return a history; each step is how long ago, and the Workers by version, with other versions under None."""
    points = [
        VersionStep(
            at=NOON - ago,
            versions=[VersionCount(version=v, workers=n) for v, n in workers.items() if v is not None],
            others=workers.get(None, 0),
        )
        for ago, workers in steps
    ]
    return VersionHistory(
        period=period, since=NOON - length, until=NOON, step_s=int(step.total_seconds()), points=points
    )


def standing(version):
    """Return the standing of a version if 1.4 is warned and 1.2 refused."""
    return {"1.4": VersionStanding.WARNED, "1.2": VersionStanding.REFUSED, "": VersionStanding.UNKNOWN}.get(
        version, VersionStanding.CURRENT
    )


def plot_of(steps, **more):
    """Return the chart of these steps."""
    return version_chart(history(steps, **more), standing_of=standing)


def test_layers_are_stacked_with_the_newest_version_at_the_bottom():
    """
    Heights add up to the number of Workers, each layer shows its version's standing, and the legend starts with the topmost.
    """
    plot = plot_of([(HOUR, {"1.2": 2, "1.10": 4, "1.4": 1, "": 1, "1.9": 2, None: 3})])

    assert [layer.text for layer in plot.chart.layers] == [
        "1.10",
        "1.9",
        "1.4",
        "1.2",
        "without a version",
        "other versions",
    ]
    assert [layer.kind for layer in plot.chart.layers] == [
        "current shade-0",
        "current shade-1",
        "warned shade-0",
        "refused shade-0",
        "unknown shade-0",
        "others shade-0",
    ]
    assert [(key.text, key.workers) for key in plot.keys[::-1]] == [
        ("1.10", 4),
        ("1.9", 2),
        ("1.4", 1),
        ("1.2", 2),
        ("without a version", 1),
        ("other versions", 3),
    ]
    edges = [[float(y) for y in re.findall(r"V([\d.]+)", layer.path)] for layer in plot.chart.layers]
    assert edges[0][1] == HEIGHT
    assert [low for _, low in edges[1:]] == [high for high, _ in edges[:-1]]
    assert plot.chart.figures == "13 now · 13 at most · UTC"


def test_hours_without_a_count_are_a_gap():
    """Downtime of the Server splits the layer into two shapes; the last hour extends to now."""
    plot = plot_of([(50 * HOUR, {"1.4": 1}), (49 * HOUR, {"1.4": 1}), (HOUR, {"1.4": 2})])

    (layer,) = plot.chart.layers
    assert layer.path.count("M") == 2
    assert f"H{WIDTH:.1f}" in layer.path


def test_equal_steps_are_one_shape():
    """A fleet that does not change adds a few bytes to the page, not 168 shapes."""
    plot = plot_of([(n * HOUR, {"1.4": 3}) for n in range(168, 0, -1)])

    assert plot.chart.layers[0].path.count("V") == 2


def test_a_day_that_was_counted_late_is_not_a_gap():
    """A year's steps are days, except the last one, which is an hour."""
    day = timedelta(days=1)
    steps = [(12 * HOUR + n * day, {"1.4": 3}) for n in (2, 1, 0)] + [(HOUR, {"1.4": 3})]

    plot = plot_of(steps, period=VersionPeriod.YEAR, step=day, length=timedelta(days=365))

    assert plot.chart.layers[0].path.count("M") == 1


def test_only_the_most_common_versions_have_layers():
    """Of fifty versions six have one; the others share a layer, and no Worker is left out."""
    many = {f"1.{n}": 100 - n for n in range(50)}

    plot = plot_of([(HOUR, many)])

    assert [layer.text for layer in plot.chart.layers] == [f"1.{n}" for n in range(5, -1, -1)] + [
        "other versions"
    ]
    assert sum(key.workers for key in plot.keys) == sum(many.values())


def test_the_table_has_one_row_per_day():
    """The latest row comes first; the columns are in the legend's order."""
    plot = plot_of([(n * HOUR, {"1.3": n, "1.4": 72 - n}) for n in range(72, 0, -1)])

    assert [key.text for key in plot.keys] == ["1.3", "1.4"]
    assert [((NOON - row.at) / HOUR, *row.workers) for row in plot.rows] == [
        (1, 1, 71),
        (25, 25, 47),
        (49, 49, 23),
    ]


def test_a_chart_of_versions_has_a_text_summary():
    """For readers who cannot see it."""
    plot = plot_of([(9 * HOUR, {"1.3": 5, "1.4": 1}), (HOUR, {"1.3": 2, "1.4": 1234})])

    assert plot.chart.summary == (
        "Workers by agent version over the last week. 1.4: 1,234 now, 1 at first; 1.3: 2 now, 5 at first."
    )
    assert plot_of([]).chart.is_empty


@pytest.mark.parametrize("text", ["\u05d0\u05d1", "x" * 128, '"/><script>alert(1)</script>'])
def test_a_reported_version_is_shortened_and_only_ascii_is_drawn(text):
    """SVG cannot isolate text directions, so a non-ASCII version is named only in the legend."""
    plot = plot_of([(HOUR, {text: 5})])

    (layer,) = plot.chart.layers
    assert len(layer.text) <= 33
    assert (layer.label_at is not None) == text.isascii()


def test_policy_changes_are_marked_in_the_chart():
    """When a policy was set or removed, and from when it refuses; of several that are close together, the last."""

    def event(hours, action, **details):
        return AuditEvent(
            number=hours,
            at=NOON - hours * HOUR,
            actor="operator:ann",
            action=action,
            subject="fleet_policy",
            address="",
            details=details,
            hash="",
        )

    policy = FleetPolicyRecord(
        warn_below="1.4",
        refuse_below="1.2",
        refuse_from=NOON - 2 * HOUR,
        set_at=NOON - 80 * HOUR,
        set_by="ann",
    )
    events = [
        event(140, "fleet_policy.set", warn_below="1.3"),
        event(139, "fleet_policy.cleared"),
        event(80, "fleet_policy.set", warn_below="1.4", refuse_below="1.2"),
    ]
    moments = policy_moments(events, policy)
    plot = version_chart(history([(9 * HOUR, {"1.4": 5})]), standing_of=standing, moments=moments)

    assert moments[-1] == Moment(NOON - 2 * HOUR, "below 1.2 refused")
    assert [tick.text for tick in plot.chart.moments] == [
        "policy removed",
        "warn below 1.4, refuse below 1.2",
        "below 1.2 refused",
    ]
