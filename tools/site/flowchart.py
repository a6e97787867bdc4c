"""
Draws a Mermaid flowchart as SVG, when the site is built: without a browser, a script in the page or another program.

Of Mermaid it knows what the pages use, and rejects the rest:

    flowchart TD
        accTitle: what it is called
        accDescr: what it shows, for readers who do not see it
        one --> two
        two --> three["a label"]

Both texts are required. The picture has the colours of the text around it, so that it can be read in a dark theme too.
"""

import hashlib
import html
import itertools
import re
from collections.abc import Iterator

import msgspec

_FONT_PX = 14
# Of the fonts of fixed width that browsers use for code; a text is never cut off, since it may reach into its box's padding.
_CHARACTER_PX = 8.5
_BOX_PX = 34
_PADDING_PX = 14
_GAP_PX = 28
_RANK_PX = 74

_TEXT = re.compile(r"(accTitle|accDescr):\s*(\S.*)")
_NODE = r"(\w+)(?:\[\"([^\"]+)\"\])?"
_EDGE = re.compile(rf"{_NODE}\s*-->\s*{_NODE}")


class FlowchartError(ValueError):
    """A flowchart that cannot be drawn."""


class Flowchart(msgspec.Struct, frozen=True):
    """Boxes from top to bottom, with arrows between them."""

    title: str
    description: str
    labels: dict[str, str]
    edges: list[tuple[str, str]]


class _Box(msgspec.Struct, frozen=True):
    x: float
    y: float
    width: float


def read(source: str) -> Flowchart:
    """
    Return what a source in Mermaid's language says.

    Raises:
        FlowchartError: It says something that is not known here, or lacks a text for readers who do not see it.
    """
    first, *lines = [line.strip() for line in source.strip().splitlines()]
    if first not in {"flowchart TD", "flowchart TB"}:
        raise FlowchartError(f"only `flowchart TD` can be drawn, not `{first}`")
    texts: dict[str, str] = {}
    labels: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for line in filter(None, lines):
        if text := _TEXT.fullmatch(line):
            texts[text[1]] = text[2]
        elif edge := _EDGE.fullmatch(line):
            for name, label in ((edge[1], edge[2]), (edge[3], edge[4])):
                labels[name] = label or labels.get(name, name)
            edges.append((edge[1], edge[3]))
        else:
            raise FlowchartError(f"cannot draw `{line}`")
    if missing := {"accTitle", "accDescr"} - texts.keys():
        raise FlowchartError(f"lacks {' and '.join(sorted(missing))}, for readers who do not see it")
    return Flowchart(texts["accTitle"], texts["accDescr"], labels, edges)


def draw(source: str) -> str:
    """
    Return the SVG element of a source in Mermaid's language.

    Raises:
        FlowchartError: It cannot be drawn.
    """
    chart = read(source)
    ranks = _ranks(chart)
    wide = max(_width(chart, rank) for rank in ranks)
    boxes = dict(_place(chart, ranks, wide))
    return _svg(chart, boxes, width=wide, height=(len(ranks) - 1) * _RANK_PX + _BOX_PX)


def _ranks(chart: Flowchart) -> list[list[str]]:
    """Return the boxes of each row from the top: each below all that point to it, in the order of these."""
    row = dict.fromkeys(chart.labels, 0)
    for _ in chart.labels:
        for start, end in chart.edges:
            row[end] = max(row[end], row[start] + 1)
    if any(row[end] != row[start] + 1 for start, end in chart.edges):
        raise FlowchartError("an arrow leads back, or past a row: its way would cross other boxes")
    ranks: list[list[str]] = [[] for _ in range(max(row.values()) + 1)]
    for name, number in row.items():
        ranks[number].append(name)
    for above, rank in itertools.pairwise(ranks):
        rank.sort(key=lambda name: _mean([above.index(start) for start, end in chart.edges if end == name]))
    return ranks


def _mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers)


def _box_width(chart: Flowchart, name: str) -> float:
    return len(chart.labels[name]) * _CHARACTER_PX + 2 * _PADDING_PX


def _width(chart: Flowchart, rank: list[str]) -> float:
    return sum(_box_width(chart, name) for name in rank) + (len(rank) - 1) * _GAP_PX


def _place(chart: Flowchart, ranks: list[list[str]], wide: float) -> Iterator[tuple[str, _Box]]:
    """Place each row in the middle."""
    for number, rank in enumerate(ranks):
        x = (wide - _width(chart, rank)) / 2
        for name in rank:
            width = _box_width(chart, name)
            yield name, _Box(x, number * _RANK_PX, width)
            x += width + _GAP_PX


def _svg(chart: Flowchart, boxes: dict[str, _Box], *, width: float, height: float) -> str:
    mark = hashlib.sha256(repr(chart).encode()).hexdigest()[:8]
    shapes = [_arrow(boxes[start], boxes[end], mark) for start, end in chart.edges]
    shapes += [_box(boxes[name], label) for name, label in chart.labels.items()]
    # A pixel around it, for half of the lines at the edge.
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {width + 2:g} {height + 2:g}" width="{width + 2:g}" '
        f'role="img" aria-labelledby="title-{mark}" aria-describedby="text-{mark}" style="max-width: 100%; height: auto" fill="none" '
        f'stroke="currentColor" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{_FONT_PX}">'
        f'<title id="title-{mark}">{html.escape(chart.title)}</title>'
        f'<desc id="text-{mark}">{html.escape(chart.description)}</desc>'
        f'<marker id="tip-{mark}" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 10 5 0 10z" fill="currentColor" stroke="none"/></marker>{"".join(shapes)}</svg>'
    )


def _box(box: _Box, label: str) -> str:
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{_BOX_PX}" rx="6"/>'
        f'<text x="{box.x + box.width / 2:g}" y="{box.y + _BOX_PX / 2:g}" text-anchor="middle" dominant-baseline="central" '
        f'fill="currentColor" stroke="none">{html.escape(label)}</text>'
    )


def _arrow(start: _Box, end: _Box, mark: str) -> str:
    x1, y1, x2, y2 = start.x + start.width / 2, start.y + _BOX_PX, end.x + end.width / 2, end.y - 1
    middle = (y1 + y2) / 2
    return f'<path d="M{x1:g} {y1:g} C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}" marker-end="url(#tip-{mark})"/>'
