"""The Workers: the list with its filters, one Worker, and what is done to one or to many."""

from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_label_text
from lyftdata.core.records import State, Strategy, WorkerRecord
from lyftdata.server import queries
from lyftdata.server.models.workers import Worker
from lyftdata.server.queries import WorkerFilter
from lyftdata.server.views import state_of
from lyftdata.web.page import Page

PER_PAGE = 50
_MOST_AT_ONCE = 200
_TIMELINE = 40
_MOST_KEYS = 20

SORTS = {"name": "Name", "status": "Status", "newest": "Newest first"}
_STATE_ORDER = {state: place for place, state in enumerate(State)}
SESSION_ENDS = {
    "signed_off": "it signed off",
    "lost": "the connection was lost",
    "started_again": "its program was started again",
    "server_stopped": "the Server stopped",
    "server_crashed": "the Server ended without warning",
}
BULK = {"disable", "enable", "delete", "label"}


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a Worker: a decision of the audit log, or refusals."""

    at: object
    title: str
    by: str
    detail: str
    reference: str = ""


async def show_list(page: Page) -> Response:
    """Show a page of the Workers that the filters leave."""
    wanted = _filter(page)
    sort = page.query("sort") if page.query("sort") in SORTS else "name"
    found = _sorted(page, await queries.find_workers(page.services, wanted), sort)
    pages = max(1, -(-len(found) // PER_PAGE))
    number = page.number(pages)
    shown = found[(number - 1) * PER_PAGE : number * PER_PAGE]
    return page.render(
        "workers.html",
        workers=await queries.worker_views(page.services, shown),
        total=len(found),
        everything=page.services.directory.worker_count(),
        number=number,
        pages=pages,
        sort=sort,
        sorts=SORTS,
        statuses=list(State),
        strategies=list(Strategy),
        parameters=_parameters(page, sort),
    )


async def show(page: Page) -> Response:
    """Show one Worker: identity, where it came from, host, session, and what happened to it."""
    worker = await queries.get_worker(page.services, page.part("worker_id"))
    keys = queries.find_api_keys(
        page.services, lambda key: worker.id in key.worker_ids or key.name == worker.api_key
    )
    return page.render(
        "worker.html",
        worker=worker,
        keys=await queries.view_api_keys(page.services, keys[:_MOST_KEYS]),
        sessions=await queries.worker_sessions(page.services, worker.id),
        ends=SESSION_ENDS,
        timeline=await _timeline(page, worker),
    )


async def rename(page: Page) -> Response:
    """Set name and labels."""
    worker_id, form = page.part("worker_id"), page.form
    # What was not touched is not sent: a page opened yesterday must not bring yesterday's labels back.
    await page.services.fleet.change(
        worker_id,
        name=form.text("name") if form.has_changed("name") else None,
        labels=form.labels("labels") if form.has_changed("labels") else None,
        actor=page.actor,
    )
    return page.redirect(f"/workers/{worker_id}", done="renamed")


async def ask_disable(page: Page) -> Response:
    """Say what disabling does, and ask."""
    return await _ask(page, "disable")


async def ask_delete(page: Page) -> Response:
    """Say what deleting does, and ask."""
    return await _ask(page, "delete")


async def _ask(page: Page, action: str) -> Response:
    worker = await queries.get_worker(page.services, page.part("worker_id"))
    return page.render("workers_confirm.html", action=action, workers=[worker], labels="", single=True)


async def disable(page: Page) -> Response:
    """Disable one Worker."""
    return await _switch(page, enabled=False)


async def enable(page: Page) -> Response:
    """Enable one Worker: nothing is cut off, so nothing is asked first."""
    return await _switch(page, enabled=True)


async def _switch(page: Page, *, enabled: bool) -> Response:
    worker_id = page.part("worker_id")
    await page.services.fleet.change(worker_id, enabled=enabled, actor=page.actor)
    return page.redirect(f"/workers/{worker_id}", done="enabled" if enabled else "disabled")


async def delete(page: Page) -> Response:
    """Delete one Worker."""
    await page.services.fleet.delete(page.part("worker_id"), actor=page.actor)
    return page.redirect("/workers", done="deleted")


async def bulk(page: Page) -> Response:
    """Do something to every Worker that was ticked, once what it does was said and confirmed."""
    action = page.form.text("action")
    ids = list(dict.fromkeys(page.form.all("id")))[:_MOST_AT_ONCE]
    if action not in BULK:
        raise InvalidInputError("action", "must be disable, enable, delete or label")
    if not ids:
        raise InvalidInputError("workers", "Tick at least one Worker first.")
    if action == "label":
        # Before anything is changed: a label that breaks its rule breaks it for all.
        _wanted_labels(page)
    if action in {"disable", "delete"} and not page.form.is_on("confirmed"):
        records = [r for r in (page.services.directory.find_worker(i) for i in ids) if r is not None]
        views = await queries.worker_views(page.services, records)
        return page.render(
            "workers_confirm.html",
            action=action,
            workers=views,
            labels=page.form.text("labels"),
            single=False,
        )
    await _do(page, action, ids)
    return page.redirect("/workers", done="bulk")


async def _do(page: Page, action: str, worker_ids: Sequence[str]) -> None:
    fleet, actor = page.services.fleet, page.actor
    match action:
        case "disable" | "enable":
            await fleet.change_many(worker_ids, enabled=action == "enable", actor=actor)
        case "delete":
            await fleet.delete_many(worker_ids, actor=actor)
        case "label":
            await fleet.change_many(worker_ids, added_labels=_wanted_labels(page), actor=actor)


def _wanted_labels(page: Page) -> dict[str, str]:
    labels = parse_label_text(page.form.text("labels"))
    if not labels:
        raise InvalidInputError("labels", "must be given, like zone=eu-1,gpu")
    return labels


def _filter(page: Page) -> WorkerFilter:
    status, strategy = page.query("status"), page.query("strategy")
    return WorkerFilter(
        q=page.query("q") or None,
        state=State(status) if status in set(State) else None,
        strategy=Strategy(strategy) if strategy in set(Strategy) else None,
        label=page.query("label") or None,
        api_key=page.query("key") or None,
        enrolled_with=page.query("secret") or None,
    )


def _parameters(page: Page, sort: str) -> dict[str, str]:
    names = ("q", "status", "strategy", "label", "key", "secret")
    return {name: page.query(name) for name in names} | {"sort": "" if sort == "name" else sort}


def _sorted(page: Page, found: list[WorkerRecord], sort: str) -> list[WorkerRecord]:
    by_name = sorted(found, key=lambda record: (record.name.casefold(), record.id))
    if sort == "status":
        return sorted(by_name, key=lambda record: _STATE_ORDER[state_of(page.services, record)])
    if sort == "newest":
        return sorted(by_name, key=lambda record: record.created_at, reverse=True)
    return by_name


async def _timeline(page: Page, worker: Worker) -> Sequence[Event]:
    """Join the audit log with the refusals, the latest first."""
    log = await queries.list_audit(page.services, limit=_TIMELINE, subject=f"worker:{worker.id}")
    refused = await queries.list_refusals(page.services, limit=_TIMELINE, claimed_worker=worker.id)
    events = [
        Event(
            entry.at,
            entry.action.removeprefix("worker."),
            entry.actor.removeprefix("operator:"),
            ", ".join(f"{key} {value}" for key, value in entry.details.items()),
        )
        for entry in log.items
    ]
    events += [
        Event(
            group.last_at,
            f"refused: {group.code.replace('_', ' ')}",
            group.address,
            f"{group.count:,} times since {group.first_at:%Y-%m-%d %H:%M} UTC"
            if group.count > 1
            else group.last_detail,
            group.last_reference,
        )
        for group in refused
    ]
    return sorted(events, key=lambda event: str(event.at), reverse=True)[:_TIMELINE]
