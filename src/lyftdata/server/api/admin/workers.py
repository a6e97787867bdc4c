"""Routes of `/api/workers`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import BulkAction, seal_match
from lyftdata.core.disabling import Disabling
from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_verdict import Presence
from lyftdata.core.query_words import MAX_LENGTH
from lyftdata.core.records import KeyRotation, State, Strategy
from lyftdata.core.worker_query import search_terms
from lyftdata.server.admin.schemas import workers as models
from lyftdata.server.admin.views import identity_copy_view
from lyftdata.server.admin.workers import NewKey
from lyftdata.server.api.admin.access import ServicesDep, allowed, require
from lyftdata.server.api.admin.preconditions import IfMatch, check_precondition, etag, worker_fields

router = APIRouter(prefix="/workers", tags=["workers"])

Reader = Annotated[Actor, Depends(allowed("workers.read", in_scope=True))]
Writer = Annotated[Actor, Depends(allowed("workers.write", in_scope=True))]
Deleter = Annotated[Actor, Depends(allowed("workers.delete", in_scope=True))]

_SHOWN = 10


@router.get("", summary="List Workers", response_model=models.WorkerPage)
async def list_workers(
    actor: Reader,
    services: ServicesDep,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=MAX_LENGTH,
            description="A search, such as `host:rack1 status:offline zone=eu-1 -gpu seen:<1h`.",
        ),
    ] = None,
    status: State | None = None,
    strategy: Strategy | None = None,
    label: Annotated[
        str | None, Query(min_length=1, max_length=130, description="`key` or `key=value`.")
    ] = None,
    api_key: Annotated[
        str | None, Query(min_length=1, max_length=50, description="Name of the key last used.")
    ] = None,
    enrolled_with: Annotated[
        str | None, Query(min_length=1, max_length=32, description="Fingerprint of an enrollment key.")
    ] = None,
    inactive_for: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=20,
            description="Neither connected nor issued a token for this long: `30d`.",
        ),
    ] = None,
    key_rotation: KeyRotation | None = None,
    presence: Annotated[
        Presence | None, Query(description="The presence of Workers that are expected to be connected.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the previous page.")] = None,
) -> Response:
    """
    Return a page of Workers, ordered by ID.

    `q` is a search (see the reference of the search language); every other filter is short for one of its terms, and all must match.
    """
    wanted = search_terms(
        q,
        status=status,
        strategy=strategy,
        label=label,
        key=api_key,
        enrolled=enrolled_with,
        inactive=inactive_for,
        rotation=key_rotation,
        presence=presence,
    )
    page = await services.worker_queries.page(wanted, scope=actor.scope, limit=limit, after=after)
    # Serialized here: FastAPI would validate each of a thousand Workers again, in one piece of the event loop's time.
    return Response(page.model_dump_json(), media_type="application/json")


@router.post("", status_code=201, summary="Add a Worker")
async def add_worker(body: models.NewWorker, actor: Writer, services: ServicesDep) -> models.NewWorkerAnswer:
    """Create a Worker for strategy `api_key`; with its own API key, or allowed to use an existing one."""
    record, issued = await services.workers.add(
        body.name,
        worker_id=body.id,
        labels=body.labels,
        issue_key=body.issue_key,
        existing_key=body.api_key,
        actor=actor,
    )
    key = None
    if issued is not None:
        key = models.IssuedKey(
            name=issued.record.name, public_id=issued.record.public_id, key=issued.text.reveal()
        )
    return models.NewWorkerAnswer(worker=(await services.worker_queries.show([record]))[0], api_key=key)


@router.post("/batch", status_code=201, summary="Add many Workers")
async def add_workers(
    body: models.NewWorkers, actor: Writer, services: ServicesDep
) -> models.NewWorkersAnswer:
    """Create the Workers of a pattern such as `press-[01-20]`, all of them or none; with a new key each, one for all, or an existing one."""
    added = await services.workers.add_many(
        body.names,
        ids=body.ids,
        labels=body.labels,
        new_key=None if body.issue_key is None else NewKey(body.issue_key),
        existing_key=body.api_key,
        actor=actor,
    )
    services.budget.charge_added(actor.account, len(added.records))
    keys = [
        models.IssuedKeyOf(
            name=issued.record.name,
            public_id=issued.record.public_id,
            key=issued.text.reveal(),
            worker_ids=list(issued.record.worker_ids),
        )
        for issued in added.issued
    ]
    return models.NewWorkersAnswer(
        number=added.number, workers=await services.worker_queries.show(added.records), api_keys=keys
    )


@router.post("/rotate-keys", summary="Ask Workers to rotate their identity key")
async def ask_key_rotation(
    body: models.KeyRotationWanted, actor: Writer, services: ServicesDep
) -> models.KeyRotationAsked:
    """Ask connected Workers now, and others when they connect. The current key of each stays valid until it uses a new one."""
    if body.all == bool(body.ids):
        raise InvalidInputError("ids", "must be given, or all set to true, and not both")
    ids = (
        services.worker_queries.ids_with_identity_key(scope=actor.scope)
        if body.all
        else list(dict.fromkeys(body.ids))
    )
    if not body.all:
        for worker_id in ids:
            await services.worker_queries.get(worker_id, scope=actor.scope)
    asked = await services.workers.ask_key_rotation(ids, actor=actor)
    return models.KeyRotationAsked(asked=len(asked), ids=[record.id for record in asked])


@router.post("/match", summary="Match Workers for a change")
async def match_workers(
    body: models.WorkersMatched, actor: Writer, services: ServicesDep
) -> models.WorkerMatch:
    """Return how many Workers match a search, the first ten, and the value that limits a change to these Workers."""
    found = await services.bulk_changes.find(body.q, scope=actor.scope)
    return models.WorkerMatch(
        count=len(found),
        first=await services.worker_queries.show(found[:_SHOWN]),
        match=seal_match([worker.id for worker in found]),
    )


@router.post("/changes", status_code=201, summary="Change all Workers that match a search")
async def change_workers(
    body: models.BulkChangeWanted, actor: Writer, services: ServicesDep
) -> models.BulkChangeDone:
    """Disable, enable, delete or label them, or ask them to rotate their identity key: all of them in one transaction, or none."""
    if body.action is BulkAction.DELETE:
        require("workers.delete", actor=actor, services=services, in_scope=True)
    done = await services.bulk_changes.change_found(
        body.action,
        body.q,
        match=body.match,
        expected=body.expect,
        added_labels=body.labels,
        disabling=Disabling(note=body.disabled_note, until=body.disabled_until),
        actor=actor,
    )
    return models.BulkChangeDone(
        number=done.number,
        undo_until=done.undo_until,
        changed=len(done.changed),
        ids=list(done.changed),
        unchanged=list(done.unchanged),
        gone=list(done.gone),
    )


@router.post("/changes/{number}/undo", summary="Undo a change of many Workers")
async def undo_change(
    number: Annotated[int, Path(ge=1, lt=2**63)], actor: Writer, services: ServicesDep
) -> models.BulkChangeUndone:
    """Undo a change within 15 minutes, for the operator who made it: Workers that were changed since are left alone, and listed."""
    undone = await services.bulk_changes.undo(number, actor=actor)
    return models.BulkChangeUndone(
        number=undone.number,
        restored=len(undone.restored),
        ids=list(undone.restored),
        gone=list(undone.gone),
        changed_since=list(undone.changed_since),
    )


@router.get("/{worker_id}", summary="Show a Worker")
async def show_worker(
    worker_id: str, actor: Reader, services: ServicesDep, response: Response
) -> models.Worker:
    """Return one Worker."""
    worker = await services.worker_queries.get(worker_id, scope=actor.scope)
    response.headers["ETag"] = etag(worker_fields(worker))
    return worker


@router.get("/{worker_id}/sessions", summary="List a Worker's last sessions")
async def list_sessions(worker_id: str, actor: Reader, services: ServicesDep) -> models.WorkerSessions:
    """Return when it was connected, from where, and why each session ended."""
    return models.WorkerSessions(
        items=await services.worker_queries.sessions_of(worker_id, scope=actor.scope)
    )


@router.get("/{worker_id}/token-origins", summary="List the origins of a Worker's tokens")
async def list_token_origins(worker_id: str, actor: Reader, services: ServicesDep) -> models.TokenOrigins:
    """Return the last few combinations of network, credential and audience, each with its first and last time."""
    return models.TokenOrigins(
        items=await services.token_origin_queries.origins_of(worker_id, scope=actor.scope)
    )


@router.get("/{worker_id}/token-counts", summary="Count a Worker's tokens by the hour")
async def count_tokens(
    worker_id: str,
    actor: Reader,
    services: ServicesDep,
    within: Annotated[
        str,
        Query(
            min_length=1, max_length=20, description="How far back, from `1h` to `30d`: longer is not kept."
        ),
    ] = "24h",
) -> models.TokenCounts:
    """Return how many tokens it got in each hour, at all Servers together; the earliest hour first."""
    return await services.token_count_queries.counts_of(
        worker_id, within=parse_duration(within), scope=actor.scope
    )


@router.get("/{worker_id}/copies", summary="List the copies of a Worker's identity")
async def list_copies(worker_id: str, actor: Reader, services: ServicesDep) -> models.IdentityCopies:
    """Return the directories that were refused as copies of this Worker's identity, each with both hosts."""
    return models.IdentityCopies(items=await services.worker_queries.copies_of(worker_id, scope=actor.scope))


@router.post("/{worker_id}/copies/{reference}", summary="Decide about a copy of a Worker's identity")
async def decide_copy(
    worker_id: str, reference: str, body: models.CopyDecided, actor: Writer, services: ServicesDep
) -> models.IdentityCopy:
    """Let a refused copy continue as the Worker, or make it enroll as a new one; it gets the decision when it asks again, within a minute."""
    return identity_copy_view(
        await services.copy_decisions.decide(worker_id, reference, body.decision, actor=actor)
    )


@router.patch("/{worker_id}", summary="Rename, label, disable or enable a Worker")
async def change_worker(
    worker_id: str,
    body: models.WorkerChange,
    actor: Writer,
    services: ServicesDep,
    response: Response,
    if_match: IfMatch = None,
) -> models.Worker:
    """Change the given fields. Disabling ends the Worker's session: at this Server before this returns, at others within a second."""
    expected = None
    if if_match is not None:
        before = await services.worker_queries.get(worker_id, scope=actor.scope)
        expected = check_precondition(if_match, worker_fields(before))
    record = await services.workers.change(
        worker_id,
        name=body.name,
        labels=body.labels,
        enabled=body.enabled,
        disabling=Disabling(note=body.disabled_note, until=body.disabled_until),
        expected=expected,
        actor=actor,
    )
    worker = (await services.worker_queries.show([record]))[0]
    response.headers["ETag"] = etag(worker_fields(worker))
    return worker


@router.delete("/{worker_id}", status_code=204, summary="Delete a Worker")
async def delete_worker(worker_id: str, actor: Deleter, services: ServicesDep) -> None:
    """Remove the entry and end the Worker's session: at this Server before this returns, at others within a second."""
    await services.workers.delete(worker_id, actor=actor)
