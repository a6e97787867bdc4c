"""Decides about a copy of a Worker's identity, after a confirmation."""

from starlette.responses import Response

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import CopyDecision
from lyftdata.web.page import Page


async def ask_continue(page: Page) -> Response:
    """Confirm letting the copy continue as the Worker, and explain the effect."""
    return await _ask(page, "continue")


async def let_continue(page: Page) -> Response:
    """Let the copy continue as the Worker."""
    return await _decide(page, CopyDecision.CONTINUE, done="It continues as the Worker when it asks again.")


async def ask_reenroll(page: Page) -> Response:
    """Confirm letting the copy enroll as a new Worker, and explain the effect."""
    return await _ask(page, "reenroll")


async def let_reenroll(page: Page) -> Response:
    """Let the copy enroll as a new Worker."""
    return await _decide(page, CopyDecision.AS_NEW, done="It enrolls as a new Worker when it asks again.")


async def _ask(page: Page, action: str) -> Response:
    worker = await page.services.worker_queries.get(page.part("worker_id"), scope=page.actor.scope)
    reference = page.part("reference")
    copies = await page.services.worker_queries.copies_of(worker.id, scope=page.actor.scope)
    copy = next((copy for copy in copies if copy.reference == reference), None)
    if copy is None:
        raise NotFoundError("copy", reference)
    return page.render("copy_confirm.html", worker=worker, copy=copy, action=action)


async def _decide(page: Page, decision: CopyDecision, *, done: str) -> Response:
    worker_id = page.part("worker_id")
    await page.services.copy_decisions.decide(worker_id, page.part("reference"), decision, actor=page.actor)
    return page.redirect(f"/workers/{worker_id}", done=done)
