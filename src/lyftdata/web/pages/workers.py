"""The pages of Workers: the list with its filters, one Worker, and actions on one or many."""

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from lyftdata.core.bulk_changes import BulkAction, is_within, seal_match
from lyftdata.core.disabling import NOTHING_MORE, DisabledFields, Disabling
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_verdict import Presence
from lyftdata.core.incidents import CUT_OFF
from lyftdata.core.names import parse_label_text
from lyftdata.core.query_words import MAX_LENGTH
from lyftdata.core.records import KeyRotation, State, Strategy, WorkerRecord, key_rotation_of
from lyftdata.core.text import count
from lyftdata.core.worker_query import (
    EMPTY_QUERY,
    Field,
    QueryError,
    WorkerQuery,
    is_asked,
    parse_worker_query,
    with_term,
)
from lyftdata.server.admin.bulk_changes import BulkChange
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.server.admin.schemas.workers import Worker
from lyftdata.server.admin.worker_order import Column
from lyftdata.server.http.problems import status_of_error
from lyftdata.store.tables.token_origins import KEPT_OF_A_WORKER
from lyftdata.web.charts import token_chart
from lyftdata.web.columns import COLUMNS, chosen_columns
from lyftdata.web.cookies import set_columns
from lyftdata.web.edit import read_edit, seal_fields
from lyftdata.web.page import Page
from lyftdata.web.render import words
from lyftdata.web.wording import describe_details, describe_span
from lyftdata.web.zones import minute

PER_PAGE = 50
_MAX_AT_ONCE = 200
_NAMED = 200
_TIMELINE = 40
_MAX_KEYS = 20
_MAX_REPEATED = 10
_TOKENS_WITHIN = timedelta(days=7)

_SORTS = [f"{sign}{column}" for column in Column for sign in ("", "-")]
# Of a time, the latest is what one looks for.
_LATEST_FIRST = (Column.SEEN, Column.CREATED)
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
_ASKED_FIRST = {"disable", "enable", "delete"}
_DONE_TO_MANY = {
    "disable": "disabled",
    "enable": "enabled",
    "delete": "deleted",
    "label": "labelled",
    "rotate-key": "asked to rotate the identity key",
}
_SO_ALREADY = ("was so already", "were so already")
_UNCHANGED = {"rotate-key": ("has no identity key to rotate", "have no identity key to rotate")}
_NAMED_AS_LEFT = 5
_MAX_DIGITS = 18
_DISABLED = "Disabled. Its session ended and its tokens are void."
_ENABLED = "Enabled. It reconnects within a minute."
_LABELS_TYPED = 500
_OTHERS_MATCH = "Nothing was changed: Workers match now that did not when you were asked."


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a Worker: a decision of the audit log, or refusals."""

    at: object
    title: str
    by: str
    detail: str
    reference: str = ""


class Counts(msgspec.Struct, frozen=True):
    """How many Workers there are, how many more are archived, and how many have not rotated their key yet."""

    present: int
    archived: int
    not_rotated: int


class Facet(msgspec.Struct, frozen=True):
    """A link that narrows the list: to which value, the search that it leads to, and whether that value is asked for now."""

    value: str
    search: str
    is_on: bool


class Heading(msgspec.Struct, frozen=True):
    """The heading of a column: the order that it leads to, and `ascending`, `descending` or "" for the present one."""

    sort: str
    direction: str


async def show_list(page: Page) -> Response:
    """Show a page of the Workers that the filters leave."""
    sort, query, is_rejected = "name", EMPTY_QUERY, False
    found, shown, number = list[WorkerRecord](), list[WorkerRecord](), 1
    try:
        page.check_parameters("q", "sort", "page", "labels", "action", "all")
        sort = page.choice("sort", _SORTS) or sort
        query = parse_worker_query(_search_text(page))
        found = await page.services.worker_queries.find(query, scope=page.actor.scope)
        number = page.number(_pages(found))
        first = await page.services.worker_queries.sort(
            found,
            Column(sort.removeprefix("-")),
            descending=sort.startswith("-"),
            limit=number * PER_PAGE,
        )
        shown = first[(number - 1) * PER_PAGE :]
    except InvalidInputError as error:
        # Nothing is listed, so nothing can be ticked that was not meant.
        page.problem, is_rejected = page.problem or error, True
    kept_for = page.services.settings.replaced_kept_for
    counts = _counts(page)
    # A search that is still being typed is answered where its result would be.
    is_typed = isinstance(page.problem, QueryError) and "hx-request" in page.request.headers
    return page.render(
        "workers.html",
        status=200 if page.problem is None or is_typed else status_of_error(page.problem),
        workers=await page.services.worker_queries.show(shown),
        total=len(found),
        everything=counts.present,
        archived=counts.archived,
        kept_for=describe_span(kept_for) if kept_for else "",
        repeated=[]
        if page.actor.scope.is_limited
        else page.services.repeated_registrations.groups()[:_MAX_REPEATED],
        not_rotated=counts.not_rotated,
        number=number,
        pages=_pages(found),
        sort=sort,
        headings={column.value: _heading(column, sort) for column in Column},
        columns=chosen_columns(page),
        every_column=COLUMNS,
        is_rejected=is_rejected,
        searched=_search_text(page),
        max_search=MAX_LENGTH,
        facets=_facets(query),
        finds_archived=query.wants_archived,
        presence=next((each for each in Presence if is_asked(query, Field.PRESENCE, each)), None),
        finds_not_rotated=is_asked(query, Field.ROTATION, KeyRotation.ASKED),
        parameters={"q": _search_text(page), "sort": "" if sort == "name" else sort},
        ticked=frozenset(page.form.all("id") or page.request.query_params.getlist("id")),
        added_labels=_typed_labels(page),
    )


def _pages(found: Sequence[WorkerRecord]) -> int:
    return max(1, -(-len(found) // PER_PAGE))


def _counts(page: Page) -> Counts:
    """Count the Workers within the operator's scope; of a whole fleet the directory knows it without looking at each."""
    directory, scope = page.services.directory, page.actor.scope
    if not scope.is_limited:
        return Counts(directory.worker_count(), directory.archived_count(), directory.count_rotations_asked())
    within = [worker for worker in directory.workers() if scope.covers_worker(worker)]
    archived = sum(worker.archived_at is not None for worker in within)
    asked = sum(key_rotation_of(worker) is KeyRotation.ASKED for worker in within)
    return Counts(len(within) - archived, archived, asked)


async def choose_columns(page: Page) -> Response:
    """Let the browser keep which columns this operator wants to see."""
    chosen = [name for name in COLUMNS if name in page.form.all("column")]
    response = page.redirect("/workers", query=_list_path(page, with_ticks=False).partition("?")[2])
    set_columns(response, page.request, page.services, operator=page.actor.operator, columns=chosen)
    return response


async def show(page: Page) -> Response:
    """Show one Worker: identity, where it came from, host, session, and what happened to it."""
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
    """Say what disabling does, and ask."""
    return await _ask(page, "disable")


async def ask_enable(page: Page) -> Response:
    """Say who has disabled it, and ask: it may have been for a reason that still holds."""
    return await _ask(page, "enable")


async def ask_delete(page: Page) -> Response:
    """Say what deleting does, and ask."""
    return await _ask(page, "delete")


async def _ask(page: Page, action: str) -> Response:
    worker = await page.services.worker_queries.get(page.part("worker_id"), scope=page.actor.scope)
    subject = f"worker:{worker.id}"
    decision = None
    # The audit log is closed to who has a scope.
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
        seal="",
        searched="",
        added={},
        named=_NAMED,
        cancel=f"/workers/{worker.id}",
        carried={},
    )


async def disable(page: Page) -> Response:
    """Disable one Worker, or change the note and the end of one that is disabled."""
    return await _switch(page, enabled=False, disabling=_wanted_disabling(page))


async def enable(page: Page) -> Response:
    """Enable one Worker."""
    return await _switch(page, enabled=True, disabling=NOTHING_MORE)


def _wanted_disabling(page: Page) -> Disabling:
    return Disabling(note=page.form.text("note"), until=page.form.text("until"))


async def rotate_key(page: Page) -> Response:
    """Ask one Worker to rotate its identity key; it stays connected, so this is not confirmed first."""
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


async def ask_many(page: Page) -> Response:
    """Say what will be done to every Worker that was ticked, and ask; it changes nothing, and can be come back to."""
    action, takes_all = page.query("action"), _takes_all(page)
    if action not in (_DONE_TO_MANY if takes_all else _ASKED_FIRST):
        raise InvalidInputError("action", "The action must be disable, enable or delete.")
    if action == "delete":
        page.check_reauthenticated("workers.delete")
    try:
        ids = await _chosen(page)
        labels = _wanted_labels(page) if action == "label" else {}
    except InvalidInputError as error:
        page.problem = error
        return await show_list(page)
    # What is outside the scope is left out like what is gone.
    records = [
        record
        for record in (page.services.directory.find_worker(worker_id) for worker_id in ids)
        if record is not None and page.actor.scope.covers_worker(record)
    ]
    return page.render(
        "workers_confirm.html",
        action=action,
        workers=await page.services.worker_queries.show(records),
        changes_end=False,
        decision=None,
        single=False,
        takes_all=takes_all,
        seal=seal_match(ids) if takes_all else "",
        searched=_search_text(page),
        added=labels,
        named=_NAMED,
        cancel=_list_path(page, with_ticks=True),
        carried=_list_parameters(page),
    )


async def change_many(page: Page) -> Response:
    """Do something to every Worker that was ticked; all but labels is asked and confirmed first."""
    action = page.form.text("action") or page.query("action")
    if action not in _DONE_TO_MANY:
        raise InvalidInputError("action", "The action must be disable, enable, delete, label or rotate-key.")
    takes_all, ids = _takes_all(page), await _chosen(page)
    labels = _wanted_labels(page) if action == "label" else {}
    has_others = takes_all and page.form.is_on("confirmed") and not is_within(ids, page.form.text("expected"))
    if has_others or (not page.form.is_on("confirmed") and (takes_all or action in _ASKED_FIRST)):
        return page.redirect(
            "/change-workers", query=_question(page), done=_OTHERS_MATCH if has_others else ""
        )
    if action == "delete":
        page.check_reauthenticated("workers.delete")
    change = await page.services.bulk_changes.change(
        BulkAction(action),
        ids,
        added_labels=labels,
        disabling=_wanted_disabling(page) if action == "disable" else NOTHING_MORE,
        search=_search_text(page) if takes_all else None,
        actor=page.actor,
    )
    _, _, query = _list_path(page, with_ticks=False).partition("?")
    can_undo = change.number if change.undo_until is not None else None
    return page.redirect("/workers", query=query, done=_summary(change, action), undo=can_undo)


async def change_many_again(page: Page) -> Response:
    """Show the list as it was, with ticks and typed text; or the question, if what was typed there is at fault."""
    if isinstance(page.problem, InvalidInputError) and page.problem.field in DisabledFields.__annotations__:
        page.instead = f"/change-workers?{_question(page)}"
        return await ask_many(page)
    page.instead = _list_path(page, with_ticks=True)
    return await show_list(page)


def _summary(change: BulkChange, action: str) -> str:
    changed = len(change.changed)
    said = [f"{count(changed, 'Worker')} {'was' if changed == 1 else 'were'} {_DONE_TO_MANY[action]}."]
    for ids, singular, plural in (
        (change.unchanged, *_UNCHANGED.get(action, _SO_ALREADY)),
        (change.gone, "was not in the list any more", "were not in the list any more"),
    ):
        if ids:
            said.append(f"{count(len(ids), 'Worker')} {singular if len(ids) == 1 else plural}.")
    return " ".join(said)


async def undo(page: Page) -> Response:
    """Take back what was done to many Workers, and say of which this was not possible."""
    number = page.form.text("number")
    is_number = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
    undone = await page.services.bulk_changes.undo(int(number) if is_number else 0, actor=page.actor)
    restored = len(undone.restored)
    said = f"Undone: {count(restored, 'Worker')} {'is' if restored == 1 else 'are'} as before."
    for ids, why in ((undone.changed_since, "changed since"), (undone.gone, "deleted since")):
        if ids:
            said += f" Left alone, because {why}: {_named(ids)}."
    _, _, query = _list_path(page, with_ticks=False).partition("?")
    return page.redirect("/workers", query=query, done=said)


def _named(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:_NAMED_AS_LEFT])
    more = len(ids) - _NAMED_AS_LEFT
    return f"{shown} and {more:,} more" if more > 0 else shown


def _question(page: Page) -> str:
    """Return the query of the page that asks about what a form is for."""
    action = page.form.text("action") or page.query("action")
    chosen = (
        [("all", "yes")] if _takes_all(page) else [("id", worker_id) for worker_id in page.form.all("id")]
    )
    return urlencode([("action", action), *_list_parameters(page).items(), *dict.fromkeys(chosen)])


def _takes_all(page: Page) -> bool:
    """Return whether the action is for all Workers that the search finds, and not for those that are ticked."""
    return "yes" in {page.form.text("all"), page.request.query_params.get("all", "")}


async def _chosen(page: Page) -> list[str]:
    """Return the IDs of the Workers that the action is for: those that are ticked, or all that the search finds at this moment."""
    if not _takes_all(page):
        return _ticked(page)
    found = await page.services.bulk_changes.find(_search_text(page), scope=page.actor.scope)
    return [worker.id for worker in found]


def _ticked(page: Page) -> list[str]:
    """Return the IDs of the Workers that were ticked, each once."""
    given = page.form.all("id") or page.request.query_params.getlist("id")
    ids = list(dict.fromkeys(given))
    if not ids:
        raise InvalidInputError("workers", "Tick at least one Worker first.")
    if len(ids) > _MAX_AT_ONCE:
        raise InvalidInputError("workers", f"At most {_MAX_AT_ONCE} Workers can be changed at once.")
    return ids


def _list_parameters(page: Page) -> dict[str, str]:
    """Return what brings the list back as it was: its filter, order and page, and the labels typed below it."""
    parameters = {"q": _search_text(page)} | {name: page.query(name) for name in ("sort", "page")}
    return {name: text for name, text in (parameters | {"labels": _typed_labels(page)}).items() if text}


def _typed_labels(page: Page) -> str:
    return page.form.text("labels") or page.request.query_params.get("labels", "").strip()[:_LABELS_TYPED]


def _list_path(page: Page, *, with_ticks: bool) -> str:
    pairs = list(_list_parameters(page).items())
    if with_ticks:
        ids = page.form.all("id") or page.request.query_params.getlist("id")
        pairs += [("id", worker_id) for worker_id in ids]
    else:
        pairs = [(name, text) for name, text in pairs if name != "labels"]
    return "/workers" + (f"?{urlencode(pairs)}" if pairs else "")


def _wanted_labels(page: Page) -> dict[str, str]:
    labels = parse_label_text(_typed_labels(page))
    if not labels:
        raise InvalidInputError("labels", "must be given, like zone=eu-1,gpu")
    return labels


def _search_text(page: Page) -> str:
    # One character more than a search may have: a longer one is rejected, and not cut to another search.
    return page.query("q", max_length=MAX_LENGTH + 1)


def _heading(column: Column, sort: str) -> Heading:
    """Return where the heading of a column leads: to the order by it, and from there to the reverse."""
    first, second = column.value, f"-{column.value}"
    if column in _LATEST_FIRST:
        first, second = second, first
    direction = "" if sort.removeprefix("-") != column else "descending" if sort[0] == "-" else "ascending"
    chosen = second if sort == first else first
    return Heading("" if chosen == Column.NAME else chosen, direction)


def _facets(query: WorkerQuery) -> list[tuple[str, list[Facet]]]:
    """Return links that add a term to the search, or take it out again; each writes what one could have typed."""
    return [
        (title, [_facet(query, field, value) for value in values])
        for title, field, values in (
            ("Status", Field.STATUS, list(State)),
            ("Strategy", Field.STRATEGY, list(Strategy)),
            ("Expected", Field.PRESENCE, list(Presence)),
        )
    ]


def _facet(query: WorkerQuery, field: Field, value: str) -> Facet:
    is_on = is_asked(query, field, value)
    return Facet(value, with_term(query, field, "" if is_on else value), is_on)


def _detail(entry: AuditEvent) -> str:
    if entry.action == CUT_OFF:
        # Its details name every Worker of the incident.
        return f"{entry.subject}, action {entry.details.get('action', '')}"
    return ", ".join(f"{name} {value}" for name, value in describe_details(entry.details))


async def _timeline(page: Page, worker: Worker) -> Sequence[Event]:
    """Join the audit log with the refusals, the latest first; nothing for who may read neither."""
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
