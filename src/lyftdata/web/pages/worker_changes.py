"""Bulk actions on Workers, those that were checked or all that match a search: confirmation, change, and undo."""

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.responses import Response

from lyftdata.core.bulk_changes import BulkAction, is_within, seal_match
from lyftdata.core.disabling import NOTHING_MORE, DisabledFields
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_label_text
from lyftdata.core.text import count
from lyftdata.server.admin.bulk_changes import BulkChange
from lyftdata.web.page import Page
from lyftdata.web.pages.worker import MAX_NAMED, PROTECTED, wanted_disabling
from lyftdata.web.pages.workers import list_parameters, list_path, search_text, show_list, typed_labels

_MAX_AT_ONCE = 200
_ASKED_FIRST = {"disable", "enable", "delete"}
_DONE_TO_MANY = {
    "disable": "disabled",
    "enable": "enabled",
    "delete": "deleted",
    "label": "labelled",
    "rotate-key": "asked to rotate the identity key",
}
_UNCHANGED = {
    "disable": ("was disabled already", "were disabled already"),
    "enable": ("was enabled already", "were enabled already"),
    "label": ("had these labels already", "had these labels already"),
    "rotate-key": ("has no identity key to rotate", "have no identity key to rotate"),
}
_NAMED_AS_LEFT = 5
_MAX_DIGITS = 18
_OTHERS_MATCH = "Nothing was changed: Workers match now that did not when you were asked."


async def ask_many(page: Page) -> Response:
    """Confirm an action on every Worker that was checked, and explain it; it changes nothing, so that one can go back to it."""
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
    # Workers outside the scope are left out like deleted ones.
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
        must_confirm=action in PROTECTED
        and await page.services.second_operator_settings.must_confirm(
            PROTECTED[action], workers=len(records)
        ),
        seal=seal_match(ids) if takes_all else "",
        searched=search_text(page),
        added=labels,
        named=MAX_NAMED,
        cancel=list_path(page, with_ticks=True),
        carried=list_parameters(page),
    )


async def change_many(page: Page) -> Response:
    """Apply an action to every Worker that was checked; everything except labels is confirmed first."""
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
        disabling=wanted_disabling(page) if action == "disable" else NOTHING_MORE,
        search=search_text(page) if takes_all else None,
        actor=page.actor,
    )
    _, _, query = list_path(page, with_ticks=False).partition("?")
    can_undo = change.number if change.undo_until is not None else None
    return page.redirect("/workers", query=query, done=_summary(change, action), undo=can_undo)


async def change_many_again(page: Page) -> Response:
    """Show the list as it was, with checks and input; or the confirmation, if its input is at fault."""
    if isinstance(page.problem, InvalidInputError) and page.problem.field in DisabledFields.__annotations__:
        page.instead = f"/change-workers?{_question(page)}"
        return await ask_many(page)
    page.instead = list_path(page, with_ticks=True)
    return await show_list(page)


def _summary(change: BulkChange, action: str) -> str:
    changed = len(change.changed)
    said = [f"{count(changed, 'Worker')} {'was' if changed == 1 else 'were'} {_DONE_TO_MANY[action]}."]
    for ids, singular, plural in (
        (change.unchanged, *_UNCHANGED.get(action, ("is unchanged", "are unchanged"))),
        (change.gone, "was not in the list any more", "were not in the list any more"),
    ):
        if ids:
            said.append(f"{count(len(ids), 'Worker')} {singular if len(ids) == 1 else plural}.")
    return " ".join(said)


async def undo(page: Page) -> Response:
    """Undo a bulk change, and say for which Workers this was not possible."""
    number = page.form.text("number")
    is_number = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
    undone = await page.services.bulk_changes.undo(int(number) if is_number else 0, actor=page.actor)
    restored = len(undone.restored)
    said = f"Undone: {count(restored, 'Worker')} {'is' if restored == 1 else 'are'} as before."
    for ids, why in ((undone.changed_since, "changed since"), (undone.gone, "deleted since")):
        if ids:
            said += f" Left alone, because {why}: {_named(ids)}."
    _, _, query = list_path(page, with_ticks=False).partition("?")
    return page.redirect("/workers", query=query, done=said)


def _named(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:_NAMED_AS_LEFT])
    more = len(ids) - _NAMED_AS_LEFT
    return f"{shown} and {more:,} more" if more > 0 else shown


def _question(page: Page) -> str:
    """Return the query of the page that confirms a form's action."""
    action = page.form.text("action") or page.query("action")
    chosen = (
        [("all", "yes")] if _takes_all(page) else [("id", worker_id) for worker_id in page.form.all("id")]
    )
    return urlencode([("action", action), *list_parameters(page).items(), *dict.fromkeys(chosen)])


def _takes_all(page: Page) -> bool:
    """Return whether the action is for all Workers that match the search, not for those that are checked."""
    return "yes" in {page.form.text("all"), page.request.query_params.get("all", "")}


async def _chosen(page: Page) -> list[str]:
    """Return the IDs of the Workers for the action: those that are checked, or all that match the search now."""
    if not _takes_all(page):
        return _ticked(page)
    found = await page.services.bulk_changes.find(search_text(page), scope=page.actor.scope)
    return [worker.id for worker in found]


def _ticked(page: Page) -> list[str]:
    """Return the IDs of the Workers that were checked, each once."""
    given = page.form.all("id") or page.request.query_params.getlist("id")
    ids = list(dict.fromkeys(given))
    if not ids:
        raise InvalidInputError("workers", "Tick at least one Worker first.")
    if len(ids) > _MAX_AT_ONCE:
        raise InvalidInputError("workers", f"At most {_MAX_AT_ONCE} Workers can be changed at once.")
    return ids


def _wanted_labels(page: Page) -> dict[str, str]:
    labels = parse_label_text(typed_labels(page))
    if not labels:
        raise InvalidInputError("labels", "must be given, like zone=eu-1,gpu")
    return labels
