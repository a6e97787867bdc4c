"""
Limits an operator or an API token to the Workers that have certain labels, and to the keys and resources of these Workers alone.

A scope is a set of labels, of which a Worker must have every one. What is shared with Workers outside is outside itself: an API key
that one other Worker may use, an enrollment key that does not set the labels. So nothing that is done within a scope reaches beyond
it. What a scope does not limit, it refuses: `core.policy` has a row for each action (docs/decisions/0042).
"""

from collections.abc import Callable, Collection, Mapping

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import format_labels, parse_labels
from lyftdata.core.records import ApiKeyRecord, EnrollmentKeyRecord, Labels, ResourceRecord, WorkerRecord

FindWorker = Callable[[str], WorkerRecord | None]


class Scope(msgspec.Struct, frozen=True):
    """
    The labels that a Worker must have; `is_limited` is False for those who may see and change everything.

    Labels that contradict each other (`team=etl` and `team=ops`) are no error: no Worker has both, so the scope is empty.
    """

    is_limited: bool
    required: frozenset[tuple[str, str]] = frozenset()

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Return whether a Worker with these labels is within the scope."""
        if not self.is_limited:
            return True
        # Default deny: a limit without labels, which nothing here makes, covers no Worker, and not every one.
        return bool(self.required) and all(labels.get(key) == value for key, value in self.required)

    def covers_worker(self, worker: WorkerRecord | None) -> bool:
        """Return whether a Worker is within the scope; one that does not exist never is, unless there is no limit."""
        return not self.is_limited or (worker is not None and self.covers(worker.labels))

    def narrowed(self, other: "Scope") -> "Scope":
        """Return what is within both scopes."""
        return Scope(self.is_limited or other.is_limited, self.required | other.required)

    def is_within(self, other: "Scope") -> bool:
        """Return whether this scope reaches nowhere beyond another."""
        return not other.is_limited or (self.is_limited and self.required >= other.required)

    @property
    def text(self) -> str:
        """Return the labels in their one-line form, sorted; "" for no limit."""
        return ",".join(format_labels(dict([label])) for label in sorted(self.required))


UNLIMITED = Scope(is_limited=False)
"""Every Worker, key and resource."""


def scope_of(labels: Mapping[str, str] | None) -> Scope:
    """Return the scope that is stored as these labels; None is no limit."""
    return UNLIMITED if labels is None else Scope(is_limited=True, required=frozenset(labels.items()))


def parse_scope(labels: Mapping[str, str]) -> Labels:
    """
    Read the labels of a scope, of which there is at least one.

    Raises:
        InvalidInputError: There are none, or one breaks its rule.
    """
    try:
        parsed = parse_labels(labels)
    except InvalidInputError as error:
        raise InvalidInputError("scope", error.message) from error
    if not parsed:
        raise InvalidInputError("scope", "must have at least one label")
    return parsed


def narrow_labels(own: Mapping[str, str] | None, given: Mapping[str, str] | None) -> Labels | None:
    """
    Return the labels of a scope within one's own.

    Args:
        own: The labels of one's own scope; None for no limit.
        given: Those asked for; None for as many as one has oneself.

    Raises:
        InvalidInputError: Given labels break their rule, or contradict one's own.
    """
    labels = None if given is None else parse_scope(given)
    if own is None or labels is None:
        return dict(own) if own is not None else labels
    differing = sorted(key for key in own.keys() & labels.keys() if own[key] != labels[key])
    if differing:
        raise InvalidInputError("scope", f"must not differ from your own scope: {format_labels(own)}")
    return labels | dict(own)


def covers_api_key(scope: Scope, generations: Collection[ApiKeyRecord], find_worker: FindWorker) -> bool:
    """
    Return whether an API key is within a scope: every Worker that may use any of its generations is.

    A key for all Workers is not, nor one for no Worker: whose it was is not known any more.
    """
    if not scope.is_limited:
        return True
    return bool(generations) and all(
        not record.for_all_workers
        and bool(record.worker_ids)
        and all(scope.covers_worker(find_worker(worker_id)) for worker_id in record.worker_ids)
        for record in generations
    )


def covers_enrollment_key(scope: Scope, generations: Collection[EnrollmentKeyRecord]) -> bool:
    """Return whether an enrollment key is within a scope: each of its generations sets the scope's labels."""
    return not scope.is_limited or (
        bool(generations) and all(scope.covers(record.labels) for record in generations)
    )


def covers_resource(scope: Scope, resource: ResourceRecord, find_worker: FindWorker) -> bool:
    """
    Return whether a resource is within a scope: it can be for no Worker outside, whichever come.

    Names reach beyond any scope, since other Workers may be given them. So does a label that is not itself the whole scope.
    """
    if not scope.is_limited:
        return True
    if resource.for_all_workers or resource.worker_names or not (resource.worker_ids or resource.labels):
        return False
    return all(scope.covers_worker(find_worker(worker_id)) for worker_id in resource.worker_ids) and all(
        scope.required == {_label(selector)} for selector in resource.labels
    )


def _label(selector: str) -> tuple[str, str] | None:
    """Return the one label that a selector chooses; a bare `gpu` chooses every value."""
    key, separator, value = selector.partition("=")
    return (key, value) if separator else None
