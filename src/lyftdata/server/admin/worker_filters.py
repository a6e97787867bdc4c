"""
Filters that keep the entries that match a condition.

Each takes a part of the fleet at once, since a call for each of a hundred thousand entries takes longer than the comparison.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from operator import attrgetter
from typing import TypeAlias

from lyftdata.core.query_values import TextPattern, fold, positions_of
from lyftdata.core.records import WorkerRecord
from lyftdata.core.worker_query import LabelMatch
from lyftdata.server.admission.label_texts import LabelTexts

Part: TypeAlias = list[WorkerRecord]
Filter: TypeAlias = Callable[[Part], Part]

_name = attrgetter("name")
_id = attrgetter("id")


def by_id(ids: AbstractSet[str]) -> Filter:
    """Keep only Workers whose ID is in a set."""
    return lambda part: _with_ids(part, ids)


def where(fits: Callable[[WorkerRecord], bool]) -> Filter:
    """Keep only Workers that match a predicate."""
    return lambda part: list(filter(fits, part))


def any_of(filters: Sequence[Filter]) -> Filter:
    """Keep only Workers that match any of the filters."""
    if len(filters) == 1:
        return filters[0]
    return lambda part: _with_ids(part, _ids_of_any(filters, part))


def none_of(filters: Sequence[Filter]) -> Filter:
    """Keep only Workers that match none of the filters."""

    def leave(part: Part) -> Part:
        excluded = _ids_of_any(filters, part)
        return [worker for worker in part if worker.id not in excluded] if excluded else part

    return leave


def by_name(pattern: TextPattern) -> Filter:
    """Keep only Workers whose name matches a case-folded pattern."""
    return lambda part: [part[position] for position in positions_of(pattern, list(map(_name, part)))]


def by_id_text(pattern: TextPattern) -> Filter:
    """Keep only Workers whose ID matches a case-folded pattern."""
    return lambda part: [part[position] for position in positions_of(pattern, list(map(_id, part)))]


def by_creation(at: datetime, *, is_later: bool) -> Filter:
    """Keep only Workers whose entry was created after a time, or before it."""
    if is_later:
        return lambda part: [worker for worker in part if worker.created_at > at]
    return lambda part: [worker for worker in part if worker.created_at < at]


def by_label(wanted: LabelMatch) -> Filter:
    """Keep only Workers with a label."""
    key, pattern = wanted.key, wanted.value
    if pattern is None:
        return lambda part: [worker for worker in part if key in worker.labels]
    if len(pattern.parts) == 1:
        text = pattern.parts[0]
        return lambda part: [worker for worker in part if worker.labels.get(key) == text]
    return lambda part: [
        worker for worker in part if key in worker.labels and pattern.matches(worker.labels[key])
    ]


def by_any_label(pattern: TextPattern, texts: LabelTexts) -> Filter:
    """
    Keep only Workers with a label that matches a case-folded pattern, written as `key=value`, or `key` if it has no value.

    Args:
        pattern: The pattern to search for.
        texts: The keys and values of all of their labels, and possibly of others.
    """
    if len(pattern.parts) > 1 or pattern.is_whole or "=" in pattern.parts[0]:
        return where(
            lambda worker: any(
                pattern.matches(fold(f"{key}={value}" if value else key))
                for key, value in worker.labels.items()
            )
        )
    # A text without `=` occurs in `key=value` if it occurs in the key or the value.
    keys, values = texts.keys_with(pattern.parts[0]), texts.values_with(pattern.parts[0])
    if not values:
        return _by_any_key(keys) if keys else lambda _: []
    return lambda part: [
        worker
        for worker in part
        if not (keys.isdisjoint(worker.labels) and values.isdisjoint(worker.labels.values()))
    ]


def _by_any_key(keys: AbstractSet[str]) -> Filter:
    return lambda part: [worker for worker in part if not keys.isdisjoint(worker.labels)]


def _ids_of_any(filters: Sequence[Filter], part: Part) -> set[str]:
    return {worker.id for each in filters for worker in each(part)}


def _with_ids(part: Part, ids: AbstractSet[str]) -> Part:
    return [worker for worker in part if worker.id in ids] if ids else []
