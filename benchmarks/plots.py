"""Plots of results in a common style."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from benchmarks.harness import IMAGES
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS_COLOUR, THEIRS_COLOUR = "#2456a6", "#b8bec9"
_DPI = 110


def figure(title: str, *, width: float = 8.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes, without a frame."""
    drawn, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    return drawn, axes


def keep(drawn: Figure, name: str) -> None:
    """Write a figure as `docs/images/bench-NAME.png`."""
    # Without the library's version, so that the same numbers give the same file.
    drawn.savefig(IMAGES / f"bench-{name}.png", dpi=_DPI, metadata={"Software": None})
    plt.close(drawn)
    print(f"written: docs/images/bench-{name}.png")


def bars(name: str, values: Mapping[str, float], *, title: str, unit: str) -> None:
    """Draw a bar for each measure, lyftdata's in colour."""
    drawn, axes = figure(title, height=0.9 + 0.42 * len(values))
    names = list(values)[::-1]
    colours = [OURS_COLOUR if bar.startswith("lyftdata") else THEIRS_COLOUR for bar in names]
    shown = axes.barh(names, [values[bar] for bar in names], color=colours)
    axes.bar_label(shown, labels=[f" {values[bar]:,.0f}" for bar in names], fontsize=9)
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    keep(drawn, name)


def lines(
    name: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    dots: bool = True,
) -> None:
    """Draw a line for each series."""
    drawn, axes = figure(title)
    for label, (x, y) in series.items():
        axes.plot(x, y, marker="o" if dots else None, markersize=4, label=label)
    if log_x:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", alpha=0.25)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)
    keep(drawn, name)
