"""
Limits an operator or an API token to the Workers that have certain labels, and to the keys and resources of these Workers only.

A scope is a set of labels; a Worker must have all of them. Anything shared with Workers outside the scope is itself outside: an API
key that another Worker may use, an enrollment key that does not set the labels. So no action within a scope has effects outside it.
Actions that cannot be limited this way are refused: `core.policy` has a row for each action (docs/decisions/0042).
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
        # Default deny: a limit without labels, which nothing here creates, covers no Worker rather than every Worker.
        return bool(self.required) and all(labels.get(key) == value for key, value in self.required)

    def covers_worker(self, worker: WorkerRecord | None) -> bool:
        """Return whether a Worker is within the scope; one that does not exist never is, unless there is no limit."""
        return not self.is_limited or (worker is not None and self.covers(worker.labels))

    def narrowed(self, other: "Scope") -> "Scope":
        """Return the scope of everything that is within both."""
        return Scope(self.is_limited or other.is_limited, self.required | other.required)

    def is_within(self, other: "Scope") -> bool:
        """Return whether everything in this scope is also in the other one."""
        return not other.is_limited or (self.is_limited and self.required >= other.required)

    @property
    def text(self) -> str:
        """Return the labels in their one-line form, sorted; "" for no limit."""
        return ",".join(format_labels(dict([label])) for label in sorted(self.required))


UNLIMITED = Scope(is_limited=False)
"""Every Worker, key and resource."""


def scope_of(labels: Mapping[str, str] | None) -> Scope:
    """Return the scope for stored labels; None means no limit."""
    return UNLIMITED if labels is None else Scope(is_limited=True, required=frozenset(labels.items()))


def parse_scope(labels: Mapping[str, str]) -> Labels:
    """
    Check the labels of a scope, which must have at least one.

    Raises:
        InvalidInputError: There is no label, or one breaks its rule.
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
    Return the labels of a requested scope, narrowed to the caller's own.

    Args:
        own: The labels of the caller's scope; None for no limit.
        given: The requested labels; None for the caller's own scope.

    Raises:
        InvalidInputError: The requested labels break their rule, or contradict the caller's own.
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

    A key for all Workers is not, nor is one for no Worker: nothing tells any more whose it was.
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
    Return whether a resource is within a scope: no Worker outside it can ever be granted the resource.

    A selector by name is never within a scope, since another Worker may get that name. Neither is a label, unless it is the whole scope.
    """
    if not scope.is_limited:
        return True
    if resource.for_all_workers or resource.worker_names or not (resource.worker_ids or resource.labels):
        return False
    return all(scope.covers_worker(find_worker(worker_id)) for worker_id in resource.worker_ids) and all(
        scope.required == {_label(selector)} for selector in resource.labels
    )


def _label(selector: str) -> tuple[str, str] | None:
    """Return the label of a selector; None for a bare key such as `gpu`, which matches every value."""
    key, separator, value = selector.partition("=")
    return (key, value) if separator else None
