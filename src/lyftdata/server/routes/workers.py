"""`/api/workers`: the Worker entries."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from lyftdata.core.records import Status, Strategy, WorkerRecord
from lyftdata.server import models
from lyftdata.server.actor import Actor
from lyftdata.server.routes.deps import ServicesDep, allowed
from lyftdata.server.services import Services
from lyftdata.server.views import status_of, worker_view
from lyftdata.store import traces, workers

router = APIRouter(prefix="/workers", tags=["workers"])

Reader = Annotated[Actor, Depends(allowed("workers.read"))]
Writer = Annotated[Actor, Depends(allowed("workers.write"))]


@router.get("", summary="List Workers")
async def list_workers(
    _actor: Reader,
    services: ServicesDep,
    q: Annotated[str | None, Query(max_length=128, description="Part of a name or an ID.")] = None,
    status: Status | None = None,
    strategy: Strategy | None = None,
    label: Annotated[str | None, Query(max_length=130, description="`key` or `key=value`.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
) -> models.WorkerPage:
    """Return a page of Workers, ordered by ID."""
    page = await services.store.read(
        lambda conn: workers.list_workers(
            conn,
            q=q,
            strategy=strategy,
            label=label,
            ids=_with_status(services, status),
            limit=limit,
            after=after,
        )
    )
    items = await _views(services, page.items)
    return models.WorkerPage(items=items, next=page.next, total=page.total)


@router.post("", status_code=201, summary="Add a Worker")
async def add_worker(body: models.NewWorker, actor: Writer, services: ServicesDep) -> models.NewWorkerAnswer:
    """Create a Worker for strategy `api_key`, and an API key for it alone if asked."""
    record, issued = await services.fleet.add(
        body.name, worker_id=body.id, labels=body.labels, issue_key=body.issue_key, actor=actor
    )
    key = None
    if issued is not None:
        key = models.IssuedKey(
            name=issued.record.name, public_id=issued.record.public_id, key=issued.text.reveal()
        )
    return models.NewWorkerAnswer(worker=(await _views(services, [record]))[0], api_key=key)


@router.get("/{worker_id}", summary="Show a Worker")
async def show_worker(worker_id: str, _actor: Reader, services: ServicesDep) -> models.Worker:
    """Return one Worker."""
    record = await services.store.read(lambda conn: workers.get_worker(conn, worker_id))
    return (await _views(services, [record]))[0]


@router.patch("/{worker_id}", summary="Rename, label, disable or enable a Worker")
async def change_worker(
    worker_id: str, body: models.WorkerChange, actor: Writer, services: ServicesDep
) -> models.Worker:
    """Change what the body names. Disabling ends the Worker's session before this returns."""
    record = await services.fleet.change(
        worker_id, name=body.name, labels=body.labels, enabled=body.enabled, actor=actor
    )
    return (await _views(services, [record]))[0]


@router.delete("/{worker_id}", status_code=204, summary="Delete a Worker")
async def delete_worker(worker_id: str, actor: Writer, services: ServicesDep) -> None:
    """Remove the entry; the Worker's session ends before this returns."""
    await services.fleet.delete(worker_id, actor=actor)


async def _views(services: Services, records: list[WorkerRecord]) -> list[models.Worker]:
    stored = await services.store.read(
        lambda conn: traces.find_traces(conn, [record.id for record in records])
    )
    return [worker_view(services, record, stored) for record in records]


def _with_status(services: Services, status: Status | None) -> set[str] | None:
    """Return the IDs with this status, or None for all; who is connected is known here, not in the store."""
    if status is None:
        return None
    return {
        worker.id for worker in list(services.directory.workers()) if status_of(services, worker.id) is status
    }
