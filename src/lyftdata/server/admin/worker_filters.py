"""
What leaves those of some entries that fit a condition.

Each takes a part of the fleet at once, since a call for each of a hundred thousand entries takes longer than the comparison.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import TypeAlias

from lyftdata.core.query_values import TextPattern, fold, positions_of
from lyftdata.core.records import WorkerRecord
from lyftdata.core.worker_query import LabelMatch

Part: TypeAlias = list[WorkerRecord]
Filter: TypeAlias = Callable[[Part], Part]

_name = attrgetter("name")
_id = attrgetter("id")
_labels = attrgetter("labels")


def by_id(ids: Collection[str]) -> Filter:
    """Leave those with one of these IDs."""
    return lambda part: _with_ids(part, ids)


def where(fits: Callable[[WorkerRecord], bool]) -> Filter:
    """Leave those that fit."""
    return lambda part: list(filter(fits, part))


def any_of(filters: Sequence[Filter]) -> Filter:
    """Leave those that one of the filters leaves."""
    if len(filters) == 1:
        return filters[0]
    return lambda part: _with_ids(part, {worker.id for each in filters for worker in each(part)})


def none_of(filters: Sequence[Filter]) -> Filter:
    """Leave those that none of the filters leaves."""
    fits = any_of(filters)

    def leave(part: Part) -> Part:
        excluded = {worker.id for worker in fits(part)}
        return [worker for worker in part if worker.id not in excluded] if excluded else part

    return leave


def by_name(pattern: TextPattern) -> Filter:
    """Leave those whose name fits a folded pattern."""
    return lambda part: [part[position] for position in positions_of(pattern, list(map(_name, part)))]


def by_id_text(pattern: TextPattern) -> Filter:
    """Leave those whose ID fits a folded pattern."""
    return lambda part: [part[position] for position in positions_of(pattern, list(map(_id, part)))]


def by_creation(at: datetime, *, is_later: bool) -> Filter:
    """Leave those whose entry was made later than a time, or earlier."""
    if is_later:
        return lambda part: [worker for worker in part if worker.created_at > at]
    return lambda part: [worker for worker in part if worker.created_at < at]


def by_label(wanted: LabelMatch) -> Filter:
    """Leave those with a label."""
    key, pattern = wanted.key, wanted.value
    if pattern is None:
        return lambda part: [worker for worker in part if key in worker.labels]
    if len(pattern.parts) == 1:
        text = pattern.parts[0]
        return lambda part: [worker for worker in part if worker.labels.get(key) == text]
    return lambda part: [
        worker for worker in part if key in worker.labels and pattern.matches(worker.labels[key])
    ]


def by_any_label(pattern: TextPattern) -> Filter:
    """
    Leave those with a label that fits a folded pattern, written as `key=value`, or `key` if it has no value.

    Of a large fleet most keys and values are the same few: each is compared once.
    """
    if len(pattern.parts) > 1 or pattern.is_whole or "=" in pattern.parts[0]:
        return where(
            lambda worker: any(
                pattern.matches(fold(f"{key}={value}" if value else key))
                for key, value in worker.labels.items()
            )
        )
    keys, values = _Fitting(pattern.parts[0]), _Fitting(pattern.parts[0])

    def leave(part: Part) -> Part:
        labels = list(map(_labels, part))
        # In `key=value` there is a text without `=` if it is in one of both.
        fitting_keys = keys.among(labels)
        fitting_values = values.among(map(dict.values, labels))
        if not fitting_values:
            return (
                [worker for worker in part if not fitting_keys.isdisjoint(worker.labels)]
                if fitting_keys
                else []
            )
        return [
            worker
            for worker in part
            if not (
                fitting_keys.isdisjoint(worker.labels) and fitting_values.isdisjoint(worker.labels.values())
            )
        ]

    return leave


class _Fitting:
    """Which texts have another in them; each is compared once."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._known: set[str] = set()
        self._fitting: set[str] = set()

    def among(self, texts: Iterable[Iterable[str]]) -> set[str]:
        here = set(chain.from_iterable(texts))
        new = here - self._known
        self._known |= new
        self._fitting.update(each for each in new if self._part in fold(each))
        return self._fitting & here


def _with_ids(part: Part, ids: Collection[str]) -> Part:
    return [worker for worker in part if worker.id in ids] if ids else []
