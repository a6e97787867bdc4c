"""
Keeps the changes of an operator with a scope within it; each check is in the transaction of the change.

Anything outside the scope is answered as if it did not exist. A change must neither move anything out of the scope nor give a Worker tokens
for a resource outside, for which its name, its ID or a label could select it.
"""

from collections.abc import Iterable, Mapping

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from lyftdata.core.records import ApiKeyRecord, EnrollmentKeyRecord, Labels, Strategy, WorkerRecord
from lyftdata.core.resources import is_granted
from lyftdata.core.scopes import Scope, covers_api_key, covers_enrollment_key, covers_resource
from lyftdata.store import WriteTx
from lyftdata.store.tables import api_keys, enrollment_keys, resources, workers


def with_scope_labels(scope: Scope, given: Mapping[str, str]) -> Labels:
    """
    Return the labels of something created within a scope: the given ones, and the scope's own.

    Raises:
        InvalidInputError: A given label contradicts the scope.
    """
    labels = dict(scope.required) | dict(given)
    check_keeps_labels(scope, labels)
    return labels


def check_keeps_labels(scope: Scope, labels: Mapping[str, str]) -> None:
    """Reject labels that would move a Worker out of a scope; raises InvalidInputError."""
    if not scope.covers(labels):
        raise InvalidInputError("labels", f"must include those to which you are limited: {scope.text}")


def get_api_key(tx: WriteTx, name: str, actor: Actor) -> list[ApiKeyRecord]:
    """Return every generation of an API key within the caller's scope; raises NotFoundError."""
    generations = api_keys.find_by_name(tx.conn, name)
    if not covers_api_key(
        actor.scope, generations, lambda worker_id: workers.find_worker(tx.conn, worker_id)
    ):
        raise NotFoundError("api_key", name)
    return generations


def get_enrollment_key(tx: WriteTx, name: str, actor: Actor) -> list[EnrollmentKeyRecord]:
    """Return every generation of an enrollment key within the caller's scope; raises NotFoundError."""
    generations = enrollment_keys.find_by_name(tx.conn, name)
    if not covers_enrollment_key(actor.scope, generations):
        raise NotFoundError("enrollment_key", name)
    return generations


def check_grants(tx: WriteTx, before: WorkerRecord | None, after: WorkerRecord, actor: Actor) -> None:
    """
    Reject a change that would give a Worker tokens for a resource outside the caller's scope.

    Privilege escalation: otherwise an operator who may name and label a Worker could make any resource select it that selects by these. A resource for
    all Workers or for a label of the scope, and grants that the Worker already has, were defined by an operator without a scope.

    Raises:
        ForbiddenError: It would; the resource is not named.
    """
    check_all_grants(tx, [(before, after)], actor)


def check_all_grants(
    tx: WriteTx, changes: Iterable[tuple[WorkerRecord | None, WorkerRecord]], actor: Actor
) -> None:
    """Do the same as `check_grants` for many Workers, each before and after the change; raises the same."""
    if not actor.scope.is_limited:
        return
    # Read once: other writers wait for this transaction, and a change may affect thousands of Workers.
    known = [record for record in resources.all_resources(tx.conn) if not record.for_all_workers]
    within: set[str] = set()
    for before, after in changes:
        for resource in known:
            is_new = is_granted(resource, after) and (before is None or not is_granted(resource, before))
            if not is_new or resource.name in within:
                continue
            if not is_granted(resource, _any_worker(actor.scope, after)) and not covers_resource(
                actor.scope, resource, lambda worker_id: workers.find_worker(tx.conn, worker_id)
            ):
                raise ForbiddenError(
                    "The Worker would get tokens for a resource outside your scope, by its ID, its name or a label.",
                    hint="Choose others, or ask an admin without a scope.",
                )
            within.add(resource.name)


def _any_worker(scope: Scope, like: WorkerRecord) -> WorkerRecord:
    """Return a Worker with what every Worker of a scope has, and nothing else by which a resource could select it."""
    return msgspec.structs.replace(like, id="", name="", labels=dict(scope.required))


def check_key_grants(tx: WriteTx, key: EnrollmentKeyRecord, actor: Actor) -> None:
    """
    Reject an enrollment key whose labels would give its Workers tokens for a resource outside the caller's scope.

    Raises:
        ForbiddenError: They would; the resource is not named.
    """
    # Like one of its Workers, except for the name, which is not known yet.
    enrolled = WorkerRecord(
        id="",
        name="",
        strategy=Strategy.AUTO_ENROLLMENT,
        labels=key.labels,
        created_at=key.created_at,
        created_by=key.created_by,
    )
    check_grants(tx, None, enrolled, actor)


def check_name_free(tx: WriteTx, name: str, actor: Actor, *, besides: str | None = None) -> None:
    """Reject a Worker name that is taken, as ConflictError `worker_name_taken`; a holder outside the scope is not named."""
    try:
        workers.ensure_name_free(tx.conn, name, besides=besides)
    except ConflictError as error:
        holder = workers.find_live_by_name(tx.conn, name)
        if actor.scope.covers_worker(holder):
            raise
        # Not chained: the original error names the holder.
        raise ConflictError(
            error.code, "A Worker outside your scope has this name.", hint="Choose another name."
        ) from None
