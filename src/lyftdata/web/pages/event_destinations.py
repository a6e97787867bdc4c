"""The pages of event destinations: where events of the audit log are delivered."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.event_destinations import SECRET_OVERLAP
from lyftdata.core.records import Transport
from lyftdata.server.admin.event_destinations import DestinationChange
from lyftdata.server.admin.schemas.event_destinations import EventDestination
from lyftdata.web.edit import read_edit, seal_fields
from lyftdata.web.page import Page
from lyftdata.web.sorting import Sorting, folded, in_order

_VALUES: Mapping[str, Callable[[EventDestination], Any]] = {
    "name": lambda one: one.name,
    "to": lambda one: folded([one.transport, one.endpoint or one.file]),
    # Those that deliver, those that fail, those that are paused.
    "state": lambda one: (one.is_paused, one.failures > 0, one.lost),
    "waiting": lambda one: one.waiting,
    "success": lambda one: one.last_success_at,
}
_SORTING = Sorting(
    path="/event-destinations", columns=_VALUES, default="name", highest_first=("state", "waiting", "success")
)
_MAX_DIGITS = 19
_FIELDS = ("url", "events", "labels", "ca")


async def show_list(page: Page) -> Response:
    """Show every destination."""
    page.check_parameters("sort")
    order = _SORTING.read(page)
    found = await page.services.event_destination_queries.list_all()
    destinations = in_order(found, order, _VALUES, tie=lambda one: one.name)
    return page.render("event_destinations.html", destinations=destinations, order=order)


async def form(page: Page) -> Response:
    """Show the form for a new destination."""
    return page.render("event_destination_form.html", destination=None)


async def add(page: Page) -> Response:
    """Add a destination; show the secret of a webhook once."""
    name, transport = page.form.text("name"), _transport(page)
    change = DestinationChange(**_given(page, transport))
    secret = await page.services.event_destinations.add(name, transport, change, actor=page.actor)
    if secret is None:
        return page.redirect(f"/event-destinations/{name}", done="Added. Send a test event to try it.")
    return page.render_secret(
        "event_destination_secret.html",
        instead=f"/event-destinations/{name}",
        name=name,
        secret=secret,
        until=None,
    )


async def show(page: Page) -> Response:
    """Show one destination and how far it has got, and let it be changed."""
    destination = await page.services.event_destination_queries.get(page.part("name"))
    return page.render(
        "event_destination.html",
        destination=destination,
        queue=destination.queue,
        before=page.seal(destination.previous_secret_until),
        seen=page.seen(seal_fields(_editable(destination))),
    )


async def change(page: Page) -> Response:
    """Change a destination."""
    name = page.part("name")
    destination = await page.services.event_destination_queries.get(name)
    given = _given(page, destination.transport)
    edit = read_edit(page, current=_editable(destination), given=given)
    await page.services.event_destinations.change(name, DestinationChange(**edit.changes), actor=page.actor)
    return page.redirect(f"/event-destinations/{name}", done="Saved.")


async def test(page: Page) -> Response:
    """Send a test event, and say what came of it."""
    name = page.part("name")
    outcome = await page.services.event_destinations.test(name, actor=page.actor)
    done = f"Not delivered: {outcome.error}" if outcome.error else "The test event was accepted."
    return page.redirect(f"/event-destinations/{name}", done=done)


async def pause(page: Page) -> Response:
    """Deliver nothing more for now."""
    name = page.part("name")
    await page.services.event_destinations.pause(name, actor=page.actor)
    return page.redirect(f"/event-destinations/{name}", done="Paused. Events wait in the audit log.")


async def resume(page: Page) -> Response:
    """Deliver again, at once."""
    name = page.part("name")
    await page.services.event_destinations.resume(name, actor=page.actor)
    return page.redirect(f"/event-destinations/{name}", done="Resumed.")


async def ask_skip(page: Page) -> Response:
    """Show the event that the receiver rejects, and ask; if there is none to skip, show the destination."""
    destination = await page.services.event_destination_queries.get(page.part("name"))
    event = destination.rejected
    if event is None or not event.may_be_skipped:
        return await show(page)
    return page.render("event_destination_skip.html", destination=destination, event=event)


async def skip(page: Page) -> Response:
    """Skip the event that was shown; another one may hold up the others by now."""
    name, number = page.part("name"), page.form.text("number")
    # Never by accident: without a number that was shown there is no event that is meant.
    if not (number.isascii() and number.isdecimal() and len(number) < _MAX_DIGITS):
        raise InvalidInputError("number", "must be the number of an event")
    await page.services.event_destinations.skip_event(
        name, int(number), page.form.text("reason"), actor=page.actor
    )
    return page.redirect(f"/event-destinations/{name}", done=f"Event {int(number)} was skipped.")


async def rotate_secret(page: Page) -> Response:
    """Make a new secret, and show it once."""
    name = page.part("name")
    destination = await page.services.event_destination_queries.get(name)
    page.check_unchanged(destination.previous_secret_until)
    secret = await page.services.event_destinations.rotate_secret(
        name, overlap=SECRET_OVERLAP, actor=page.actor
    )
    changed = await page.services.event_destination_queries.get(name)
    return page.render_secret(
        "event_destination_secret.html",
        instead=f"/event-destinations/{name}",
        name=name,
        secret=secret,
        until=changed.previous_secret_until,
    )


async def ask_delete(page: Page) -> Response:
    """Say what deleting does, and ask."""
    destination = await page.services.event_destination_queries.get(page.part("name"))
    return page.render("event_destination_confirm.html", destination=destination)


async def delete(page: Page) -> Response:
    """Delete a destination."""
    name = page.part("name")
    await page.services.event_destinations.delete(name, actor=page.actor)
    return page.redirect("/event-destinations", done=f"{name} was deleted.")


def _transport(page: Page) -> Transport:
    try:
        return Transport(page.form.text("transport"))
    except ValueError:
        raise InvalidInputError("transport", "must be webhook, syslog or file") from None


def _editable(destination: EventDestination) -> dict[str, object]:
    return {name: getattr(destination, name) for name in _FIELDS}


def _given(page: Page, transport: Transport) -> dict[str, Any]:
    """Return the fields as posted; that of a file has no URL."""
    form = page.form
    # Fail-open: no pattern and no label lets everything through, and a field that is missing reads as empty.
    form.require("events", "labels")
    return {
        "url": "" if transport is Transport.FILE else form.text("url"),
        "events": sorted(set(form.words("events"))),
        "labels": sorted(set(form.words("labels"))),
        "ca": "" if transport is Transport.FILE else form.text("ca").replace("\r\n", "\n"),
    }
