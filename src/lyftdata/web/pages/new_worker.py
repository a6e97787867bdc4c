"""The pages for adding a Worker of strategy `api_key`: its ID and key, copyable texts, and waiting until it connects."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.responses import Response

from lyftdata.core.name_patterns import is_name_pattern
from lyftdata.core.records import WorkerRecord
from lyftdata.server.admin.views import key_status
from lyftdata.web.page import Page
from lyftdata.web.pages import new_workers
from lyftdata.web.snippets import Snippet, snippets

_EXISTING = "existing"
_MAX_KEYS = 100


async def form(page: Page) -> Response:
    """Show the form."""
    now = page.services.clock()
    shared = page.services.api_key_queries.find(  # A key of a single Worker is not meant to be shared.
        lambda key: (key.for_all_workers or len(key.worker_ids) > 1) and key_status(key, now) == "live",
        scope=page.actor.scope,
    )
    names = [generations[0].name for generations in shared[:_MAX_KEYS]]
    return page.render("worker_new.html", key_names=names, worker_id=page.form.text("id") or page.query("id"))


async def create(page: Page) -> Response:
    """Add the Worker, with its own key or allowed to use an existing one; for a range, ask for confirmation first."""
    if is_name_pattern(page.form.text("name")):
        return await (new_workers.create if page.form.is_on("confirmed") else new_workers.ask)(page)
    wants_own = page.form.text("with") != _EXISTING
    name = page.form.text("key_name")
    command = new_workers.wanted_command(page)
    record, issued = await page.services.workers.add(
        page.form.text("name"),
        worker_id=page.form.text("id") or None,
        labels=page.form.labels("labels"),
        issue_key=wants_own,
        existing_key=None if wants_own else name,
        actor=page.actor,
    )
    shown = None if issued is None else issued.text
    context = {
        "worker": record,
        "key": shown,
        "key_name": name if issued is None else issued.record.name,
        "snippets": await _snippets(page, record, command),
        **await _state(page, record),
    }
    page.instead = f"/workers/{record.id}"
    if shown is None:
        return page.render("worker_made.html", **context)
    return page.render_secret("worker_made.html", instead=page.instead, **context)


async def waiting(page: Page) -> Response:
    """Show whether a Worker has connected since it was created, or why it was refused."""
    record = page.services.directory.find_worker(page.part("worker_id"))
    if record is None or not page.actor.scope.covers_worker(record):
        return page.render("_waiting.html", worker=None, is_online=False, refusal=None, since=None)
    return page.render("_waiting.html", worker=record, **await _state(page, record))


async def _state(page: Page, record: WorkerRecord) -> dict[str, Any]:
    groups = await page.services.refusal_queries.list_groups(limit=5, claimed_worker=record.id)
    refused = [group for group in groups if group.last_at >= record.created_at]
    session = page.services.sessions.find(record.id)
    since: datetime | None = None if session is None else session.since
    return {
        "is_online": session is not None,
        "since": since,
        "refusal": refused[0] if refused and session is None else None,
    }


async def _snippets(page: Page, record: WorkerRecord, command: Sequence[str]) -> list[Snippet]:
    plain = {"LYFTDATA_URL": page.services.issuer, "LYFTDATA_WORKER_ID": record.id}
    return snippets(
        plain,
        secret="LYFTDATA_WORKER_API_KEY",  # noqa: S106 - a variable's name
        name=record.id,
        command=command,
        ca=await page.ca_to_paste(),
    )
