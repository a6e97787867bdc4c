"""Routes of the audit log: list, verify, export."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import PlainTextResponse, StreamingResponse

from lyftdata.core.actor import Actor
from lyftdata.server.admin.audit_checkpoints import Occasion
from lyftdata.server.admin.audit_export import ExportForm
from lyftdata.server.admin.schemas.audit import (
    AccessReport,
    AuditCheckpoint,
    AuditKey,
    AuditPage,
    AuditReport,
)
from lyftdata.server.admin.schemas.base import Moment
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.runtime.services import Services
from lyftdata.store import StoreError
from lyftdata.store.audit_log import AuditFilter

router = APIRouter()

_PROGRESS_EVERY_S = 1.0


def audit_filter(
    action: Annotated[
        str | None,
        Query(min_length=1, max_length=64, description="`worker.disabled`; `worker.*` for a prefix."),
    ] = None,
    subject: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=128,
            description="Such as `worker:ID`: its own events, and the cut-offs of incidents that it was in.",
        ),
    ] = None,
    actor: Annotated[
        str | None,
        Query(min_length=1, max_length=128, description="An operator's name, `server` or `enrollment`."),
    ] = None,
    since: Annotated[Moment | None, Query(description="ISO 8601 with a zone.")] = None,
    until: Annotated[Moment | None, Query(description="Events before this time.")] = None,
) -> AuditFilter:
    """Return the filter of a query."""
    return AuditFilter(action=action, subject=subject, actor=actor, since=since, until=until)


Wanted = Annotated[AuditFilter, Depends(audit_filter)]


@router.get("/audit", tags=["audit"], summary="List audit events")
async def list_audit(
    _actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="`next` of the previous page.")
    ] = None,
) -> AuditPage:
    """Return the events that match the filter, the latest first."""
    return await services.audit_queries.find_page(wanted, limit=limit, before=before)


@router.get("/audit/verify", tags=["audit"], summary="Verify the audit log")
async def verify_audit(
    actor: Annotated[Actor, Depends(allowed("audit.verify"))], services: ServicesDep
) -> AuditReport:
    """Check every link of the chain: no row was changed, inserted, moved or removed from the middle."""
    services.budget.charge_check(actor.account, services.store.audit_length)
    return await services.audit_queries.verify()


@router.get(
    "/audit/verify/progress",
    tags=["audit"],
    summary="Verify the audit log and follow it",
    response_class=StreamingResponse,
)
async def follow_verification(
    actor: Annotated[Actor, Depends(allowed("audit.verify"))], services: ServicesDep
) -> StreamingResponse:
    """Check the log, and return a JSON object per line: `done` and `total` every second, and `report` at the end."""
    services.budget.charge_check(actor.account, services.store.audit_length)
    return StreamingResponse(
        _follow_verification(actor, services),
        media_type="application/x-ndjson",
        headers={"Cache-Control": "no-store"},
    )


async def _follow_verification(actor: Actor, services: Services) -> AsyncIterator[bytes]:
    """Stream until the check ends, or the operator's session does; the check continues for other callers that wait for it."""
    check = asyncio.ensure_future(services.audit_queries.verify())
    try:
        while not (await asyncio.wait({check}, timeout=_PROGRESS_EVERY_S))[0]:
            if not await services.callers.is_signed_in(actor):
                return
            done, total = services.store.check_progress()
            yield f'{{"done":{done},"total":{total}}}\n'.encode()
        yield b'{"report":' + check.result().model_dump_json().encode() + b"}\n"
    except StoreError:
        # The Server stops, or its database is down: the response so far has no report, which the client reports.
        return
    finally:
        check.cancel()


@router.get("/audit/key", tags=["audit"], summary="Show the key that checks checkpoints")
async def show_key(
    _actor: Annotated[Actor, Depends(allowed("audit.read"))], services: ServicesDep
) -> AuditKey:
    """Return the public key of the audit log, which is also published at `/.well-known/lyftdata-audit-key`."""
    key = services.checkpoints.published_key
    return AuditKey(key=key, origin=key.split("+")[0])


@router.get("/audit/access", tags=["audit"], summary="List which Workers had access at a time")
async def list_access(
    actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    at: Annotated[Moment, Query(description="ISO 8601 with a zone: 2026-03-01T12:00:00Z.")],
    worker_id: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> AccessReport:
    """Return each Worker that had an entry then, whether it had access, and with which API keys or identity key."""
    services.budget.charge_check(actor.account, services.store.audit_length)
    return await services.audit_queries.access_at(at, now=services.clock(), worker_id=worker_id)


@router.get("/audit/checkpoint", tags=["audit"], summary="Sign a checkpoint of the audit log")
async def sign_checkpoint(
    actor: Annotated[Actor, Depends(allowed("audit.read"))], services: ServicesDep
) -> AuditCheckpoint:
    """Return a signed checkpoint of the current log: the number of its events, and the root of their Merkle tree."""
    services.budget.charge_check(
        actor.account, services.store.audit_length - services.checkpoints.signed_length
    )
    signed = await services.checkpoints.sign(Occasion.EXPORT)
    return AuditCheckpoint(
        size=signed.size,
        root=signed.root.hex(),
        signed_at=signed.at,
        note=signed.note,
        key=services.checkpoints.published_key,
    )


@router.get(
    "/audit/{number}/proof",
    tags=["audit"],
    summary="Prove that an event is in the audit log",
    response_class=PlainTextResponse,
)
async def prove_event(
    actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    number: Annotated[int, Path(ge=1, le=2**63 - 1)],
) -> PlainTextResponse:
    """Return the event, the path from it to the root of the Merkle tree, and a checkpoint that has this root (C2SP tlog-proof)."""
    proof = await services.audit_proofs.prove(number)
    services.budget.charge_check(actor.account, proof.hashed)
    return PlainTextResponse(proof.text)


@router.get("/audit/export", tags=["audit"], summary="Export the audit log", response_class=StreamingResponse)
async def export_audit(
    actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    wanted: Wanted,
    form: Annotated[ExportForm, Query(alias="format")] = ExportForm.JSONL,
) -> StreamingResponse:
    """
    Return the events that match the filter, the oldest first: as a JSON object per line, or comma-separated values.

    In the form `signed`, lines with a signed checkpoint; this form covers the whole log and takes no filter.
    """
    return await services.audit_export.respond(form, actor, wanted=wanted)
