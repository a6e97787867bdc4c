"""The pages of one Worker: its state, its history, and actions on it."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from starlette.responses import Response

from lyftdata.core.disabling import NOTHING_MORE, Disabling
from lyftdata.core.durations import describe_span
from lyftdata.core.incidents import CUT_OFF
from lyftdata.core.second_operator import ProtectedAction
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.server.admin.schemas.workers import Worker
from lyftdata.store.tables.token_origins import KEPT_OF_A_WORKER
from lyftdata.web.charts import token_chart
from lyftdata.web.edit import read_edit, seal_fields
from lyftdata.web.page import Page
from lyftdata.web.render import words
from lyftdata.web.wording import describe_details
from lyftdata.web.zones import minute

# What a second operator may have to confirm, by the actions of the pages.
PROTECTED = {"delete": ProtectedAction.DELETE_WORKERS, "disable": ProtectedAction.DISABLE_WORKERS}
MAX_NAMED = 200
SESSION_ENDS = {
    "signed_off": "it signed off",
    "lost": "the connection was lost",
    "started_again": "its program was started again",
    "server_stopped": "the Server stopped",
    "server_crashed": "the Server ended without warning",
    "worker_disabled": "an operator disabled it",
    "worker_deleted": "an operator deleted it",
    "superseded": "another Worker took its name",
    "api_key_revoked": "its API key was revoked",
    "api_key_rotated": "its API key was rotated",
    "api_key_expired": "its API key expired",
    "api_key_not_for_worker": "its API key is not for it any more",
}
_TIMELINE = 40
_MAX_KEYS = 20
_TOKENS_WITHIN = timedelta(days=7)
_DISABLED = "Disabled. Its session ended and its tokens are void."
_ENABLED = "Enabled. It reconnects within a minute."


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a Worker: an audit event, or refusals."""

    at: object
    title: str
    by: str
    detail: str
    reference: str = ""


async def show(page: Page) -> Response:
    """Show one Worker: identity, enrollment, host, session, and history."""
    worker = await page.services.worker_queries.get(page.part("worker_id"), scope=page.actor.scope)
    keys = page.services.api_key_queries.find(
        lambda key: worker.id in key.worker_ids or key.name == worker.api_key,
        scope=page.actor.scope,
    )
    return page.render(
        "worker.html",
        worker=worker,
        keys=await page.services.api_key_queries.show(keys[:_MAX_KEYS], scope=page.actor.scope),
        sessions=await page.services.worker_queries.sessions_of(worker.id, scope=page.actor.scope),
        copies=await page.services.worker_queries.copies_of(worker.id, scope=page.actor.scope),
        ends=SESSION_ENDS,
        origins=await page.services.token_origin_queries.origins_of(worker.id, scope=page.actor.scope),
        origins_kept=KEPT_OF_A_WORKER,
        tokens=token_chart(
            "Tokens",
            await page.services.token_count_queries.counts_of(
                worker.id, within=_TOKENS_WITHIN, scope=page.actor.scope
            ),
            zone=page.zone,
        ),
        issuers=(page.services.issuer, *page.services.previous_issuers),
        leave_after=describe_span(page.services.settings.ephemeral_leave_after),
        timeline=await _timeline(page, worker),
        seen=page.seen(seal_fields(_editable(worker))),
    )


def _editable(worker: Worker) -> dict[str, object]:
    return {"name": worker.name, "labels": worker.labels}


async def rename(page: Page) -> Response:
    """Set name and labels."""
    worker_id, form = page.part("worker_id"), page.form
    worker = await page.services.worker_queries.get(worker_id, scope=page.actor.scope)
    given = {"name": form.text("name"), "labels": form.labels("labels")}
    edit = read_edit(page, current=_editable(worker), given=given)
    await page.services.workers.change(
        worker_id,
        name=edit.changes.get("name"),
        labels=edit.changes.get("labels"),
        expected=edit.expected,
        actor=page.actor,
    )
    return page.redirect(f"/workers/{worker_id}", done="Saved.")


async def ask_disable(page: Page) -> Response:
    """Confirm disabling, and explain its effect."""
    return await _ask(page, "disable")


async def ask_enable(page: Page) -> Response:
    """Confirm enabling, and show who disabled it: the reason may still hold."""
    return await _ask(page, "enable")


async def ask_delete(page: Page) -> Response:
    """Confirm deleting, and explain its effect."""
    return await _ask(page, "delete")


async def _ask(page: Page, action: str) -> Response:
    worker = await page.services.worker_queries.get(page.part("worker_id"), scope=page.actor.scope)
    subject = f"worker:{worker.id}"
    decision = None
    # Operators with a scope cannot read the audit log.
    if page.may("audit.read"):
        log = await page.services.audit_queries.list_page(limit=1, action="worker.disabled", subject=subject)
        decision = log.items[0] if log.items else None
    return page.render(
        "workers_confirm.html",
        action=action,
        workers=[worker],
        changes_end=action == "disable" and not worker.enabled,
        decision=decision,
        single=True,
        takes_all=False,
        must_confirm=action in PROTECTED
        and await page.services.second_operator_settings.must_confirm(PROTECTED[action], workers=1),
        seal="",
        searched="",
        added={},
        named=MAX_NAMED,
        cancel=f"/workers/{worker.id}",
        carried={},
    )


async def disable(page: Page) -> Response:
    """Disable one Worker, or change the note and the end of a disabled one."""
    return await _switch(page, enabled=False, disabling=wanted_disabling(page))


async def enable(page: Page) -> Response:
    """Enable one Worker."""
    return await _switch(page, enabled=True, disabling=NOTHING_MORE)


def wanted_disabling(page: Page) -> Disabling:
    """Return the note and the end that were entered."""
    return Disabling(note=page.form.text("note"), until=page.form.text("until"))


async def rotate_key(page: Page) -> Response:
    """Ask one Worker to rotate its identity key; it stays connected, so no confirmation is needed."""
    worker_id = page.part("worker_id")
    asked = await page.services.workers.ask_key_rotation([worker_id], actor=page.actor)
    done = "Asked to rotate its identity key." if asked else "It has no identity key to rotate."
    return page.redirect(f"/workers/{worker_id}", done=done)


async def _switch(page: Page, *, enabled: bool, disabling: Disabling) -> Response:
    worker_id = page.part("worker_id")
    was_enabled = (await page.services.worker_queries.get(worker_id, scope=page.actor.scope)).enabled
    await page.services.workers.change(worker_id, enabled=enabled, disabling=disabling, actor=page.actor)
    done = _ENABLED if enabled else _DISABLED if was_enabled else "Saved."
    return page.redirect(f"/workers/{worker_id}", done=done)


async def delete(page: Page) -> Response:
    """Delete one Worker."""
    record = await page.services.workers.delete(page.part("worker_id"), actor=page.actor)
    return page.redirect("/workers", done=f"{record.name} was deleted.")


def _detail(entry: AuditEvent) -> str:
    if entry.action == CUT_OFF:
        # The details name every Worker of the incident.
        return f"{entry.subject}, action {entry.details.get('action', '')}"
    return ", ".join(f"{name} {value}" for name, value in describe_details(entry.details))


async def _timeline(page: Page, worker: Worker) -> Sequence[Event]:
    """Merge the audit log and the refusals, the latest first; empty for an operator who may read neither."""
    if not (page.may("audit.read") and page.may("refusals.read")):
        return []
    log = await page.services.audit_queries.list_page(limit=_TIMELINE, subject=f"worker:{worker.id}")
    refused = await page.services.refusal_queries.list_groups(limit=_TIMELINE, claimed_worker=worker.id)
    now = page.now()
    events = [
        Event(
            entry.at,
            "cut off in an incident"
            if entry.action == CUT_OFF
            else words(entry.action.removeprefix("worker.")),
            entry.actor.removeprefix("operator:"),
            _detail(entry),
        )
        for entry in log.items
    ]
    events += [
        Event(
            group.last_at,
            f"refused: {words(group.code)}",
            group.address,
            f"{group.count:,} times since {minute(group.first_at, now)}"
            if group.count > 1
            else group.last_detail,
            group.last_reference,
        )
        for group in refused
    ]
    return sorted(events, key=lambda event: str(event.at), reverse=True)[:_TIMELINE]
