"""The pages of what waits for a second operator: the list, one request with its decision, and the rules."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from lyftdata.core.change_requests import MAX_REASON, RequestState
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.second_operator import MAX_ABOVE
from lyftdata.server.admin.second_operator.queries import ShownRequest
from lyftdata.server.admin.second_operator.views import rules_view
from lyftdata.web.page import Page
from lyftdata.web.sorting import Sorting, folded, in_order, place_in

_PATH = "/requests"
_RULES = "/second-operator"
_MAX_DIGITS = 6
_NAMED = 200
_state = place_in(*RequestState)
_VALUES: Mapping[str, Callable[[ShownRequest], Any]] = {
    "what": lambda one: folded(one.asked.statement),
    "state": lambda one: _state(one.state),
    "operator": lambda one: folded(one.record.operator),
    "since": lambda one: one.record.requested_at,
}
_SORTING = Sorting(path=_PATH, columns=_VALUES, default="-since", highest_first=("since",))


async def show_list(page: Page) -> Response:
    """Show what waits, and what was decided within 30 days."""
    page.check_parameters("sort")
    order = _SORTING.read(page)
    listed = await page.services.change_request_queries.list(actor=page.actor)
    found = in_order(listed, order, _VALUES, tie=lambda one: one.record.id)
    return page.render(
        "requests.html",
        waiting=[one for one in found if one.state is RequestState.PENDING],
        decided=[one for one in found if one.state is not RequestState.PENDING],
        order=order,
    )


async def show(page: Page) -> Response:
    """Show what was asked for, and let those decide who can."""
    page.check_parameters()
    shown = await page.services.change_request_queries.get(page.part("request_id"), actor=page.actor)
    return page.render("request.html", shown=shown, **_named(page, shown))


async def ask_confirm(page: Page) -> Response:
    """Say once more what will be done, and ask; the note that was typed on the page before is in the form."""
    page.check_parameters("note")
    shown = await page.services.change_request_queries.get(page.part("request_id"), actor=page.actor)
    # One character more than a note may have: a longer one is rejected, and not cut.
    note = page.query("note", max_length=MAX_REASON + 1)
    return page.render("request_confirm.html", shown=shown, note=note, **_named(page, shown))


def _named(page: Page, shown: ShownRequest) -> dict[str, Any]:
    """Return how many Workers are named, and which of them there still are: no name of a deleted one leads to an error."""
    found = page.services.directory.find_workers(shown.asked.workers[:_NAMED])
    known = {worker.id for worker in found if page.actor.scope.covers_worker(worker)}
    return {"named": _NAMED, "known": known}


async def confirm(page: Page) -> Response:
    """Confirm it, and go where the effect is shown; a first password is shown here, once."""
    request_id = page.part("request_id")
    outcome = await page.services.change_requests.confirm(
        request_id, page.form.text("note"), actor=page.actor
    )
    path = f"{_PATH}/{request_id}"
    if outcome.password is not None:
        return page.render_secret(
            "operator_made.html", instead=path, name=outcome.operator, password=outcome.password
        )
    if outcome.cut_off is not None:
        return page.redirect(f"/incident/cut-offs/{outcome.cut_off}")
    return page.redirect(path, done="Confirmed, and done.")


async def decline(page: Page) -> Response:
    """Decline it."""
    request_id = page.part("request_id")
    await page.services.change_requests.decline(request_id, page.form.text("note"), actor=page.actor)
    return page.redirect(f"{_PATH}/{request_id}", done="Declined: nothing is done.")


async def withdraw(page: Page) -> Response:
    """Take back what one has asked for."""
    request_id = page.part("request_id")
    await page.services.change_requests.withdraw(request_id, actor=page.actor)
    return page.redirect(f"{_PATH}/{request_id}", done="Withdrawn: nothing is done.")


async def explain(page: Page) -> Response:
    """Give the reason for what one has asked for."""
    request_id = page.part("request_id")
    await page.services.change_requests.explain(request_id, page.form.text("reason"), actor=page.actor)
    return page.redirect(f"{_PATH}/{request_id}", done="The reason is in the request.")


async def show_rules(page: Page) -> Response:
    """Show for what a second operator must confirm."""
    page.check_parameters()
    now = await page.services.second_operator_settings.show()
    return page.render("second_operator.html", rules=rules_view(now))


async def ask_rules(page: Page) -> Response:
    """Ask which actions a second operator must confirm."""
    now = await page.services.second_operator_settings.show()
    return page.render(
        "second_operator_edit.html",
        rules=rules_view(now),
        ticked=frozenset(page.form.all("action")),
        is_sent=page.request.method == "POST",
    )


async def set_rules(page: Page) -> Response:
    """Set them, or turn it off."""
    page.form.require("above")
    actions = page.form.all("action")
    is_off = page.form.text("do") == "off"
    if not is_off and not actions:
        raise InvalidInputError("action", "Tick at least one action, or turn it off.")
    above = page.form.text("above").replace(",", "")
    if not (above.isascii() and above.isdigit() and len(above) <= _MAX_DIGITS):
        raise InvalidInputError("above", f"must be a number up to {MAX_ABOVE:,}")
    await page.services.second_operator_settings.set([] if is_off else actions, int(above), actor=page.actor)
    return page.redirect(_RULES, done="It is off." if is_off else "Saved.")
