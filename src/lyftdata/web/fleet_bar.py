"""Divides the overview's bar: every Worker is in one segment, and each segment links to its Workers."""

from collections.abc import Mapping, Sequence

import msgspec

from lyftdata.core.fleet_verdict import Presence, Verdict
from lyftdata.core.records import State

WIDTH = 1000.0
# A single Worker among 100,000 must still be visible and clickable.
_MIN_WIDTH = 6.0
_GAP = 2.0


class Segment(msgspec.Struct, frozen=True):
    """A part of the fleet; `x` and `width` are its position in the bar."""

    key: str
    number: int
    text: str
    path: str
    x: float
    width: float


def fleet_segments(counts: Mapping[State, int], verdict: Verdict) -> list[Segment]:
    """
    Return the non-empty parts of the fleet, in the order of the bar; archived Workers are left out.

    Args:
        counts: How many entries are in each state.
        verdict: Distinguishes Workers that were lost within the hour from those that are offline for another reason.
    """
    gone = verdict.lost + verdict.returning
    parts: list[tuple[str, int, str, dict[str, State | Presence]]] = [
        ("online", counts.get(State.ONLINE, 0), "online", {"status": State.ONLINE}),
        ("lost", verdict.lost, "lost in the last hour", {"presence": Presence.LOST}),
        ("returning", verdict.returning, "reconnecting", {"presence": Presence.RETURNING}),
        ("offline", counts.get(State.OFFLINE, 0) - gone, "offline", {"status": State.OFFLINE}),
        ("pending", counts.get(State.PENDING, 0), "pending", {"status": State.PENDING}),
        (
            "never",
            counts.get(State.NEVER_CONNECTED, 0),
            "never connected",
            {"status": State.NEVER_CONNECTED},
        ),
        ("disabled", counts.get(State.DISABLED, 0), "disabled", {"status": State.DISABLED}),
        ("denied", counts.get(State.DENIED, 0), "denied", {"status": State.DENIED}),
        ("expired", counts.get(State.EXPIRED, 0), "not approved in time", {"status": State.EXPIRED}),
        ("superseded", counts.get(State.SUPERSEDED, 0), "superseded", {"status": State.SUPERSEDED}),
    ]
    shown = [part for part in parts if part[1] > 0]
    return place_segments(
        [
            (
                key,
                number,
                text,
                "/workers?q=" + " ".join(f"{field}:{value.value}" for field, value in query.items()),
            )
            for key, number, text, query in shown
        ]
    )


def place_segments(parts: Sequence[tuple[str, int, str, str]]) -> list[Segment]:
    """Return adjacent segments; each part has a key, a number of Workers, a text and a path."""
    segments, x = [], 0.0
    widths = _widths([number for _, number, _, _ in parts])
    for (key, number, text, path), width in zip(parts, widths, strict=True):
        segments.append(Segment(key, number, text, path, round(x, 1), round(width, 1)))
        x += width + _GAP
    return segments


def _widths(numbers: list[int]) -> list[float]:
    """Return the width of each part: proportional to its number, but never too narrow to be seen."""
    total = sum(numbers)
    room = WIDTH - _GAP * (len(numbers) - 1)
    wide = [max(_MIN_WIDTH, room * number / total) for number in numbers]
    # The other parts give up what the narrow ones exceed their share by.
    scale = room / sum(wide) if wide else 1.0
    return [width * scale for width in wide]
