"""The page that asks for how long an alert of the overview is snoozed."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.web.page import Page

_SPANS = {"1h": "1 hour", "tomorrow": "Until tomorrow, 8 o'clock", "7d": "A week"}
_MORNING = 8


async def ask(page: Page) -> Response:
    """Say what snoozing does, and ask for how long."""
    page.check_parameters()
    alert = await page.services.snoozes.find(page.part("alert_id"))
    return page.render("snooze.html", alert=alert, spans=_SPANS)


async def snooze(page: Page) -> Response:
    """Snooze an alert."""
    page.form.require("for")
    for_ = _span(page.form.text("for"), page.now())
    await page.services.snoozes.snooze(
        page.part("alert_id"), for_=for_, note=page.form.text("note"), actor=page.actor
    )
    return page.redirect("/", done="Snoozed: it comes back by itself then, or when it gets worse.")


async def unsnooze(page: Page) -> Response:
    """Let a snoozed alert come back now."""
    await page.services.snoozes.unsnooze(page.part("alert_id"), actor=page.actor)
    return page.redirect("/", done="It is no longer snoozed.")


def _span(chosen: str, now: datetime) -> timedelta:
    """Return for how long; a morning is one in the zone in which the page shows times."""
    match chosen:
        case "1h":
            return timedelta(hours=1)
        case "tomorrow":
            morning = (now + timedelta(days=1)).replace(hour=_MORNING, minute=0, second=0, microsecond=0)
            # In UTC: within one zone, hours that a change of the clock leaves out would be counted.
            return morning.astimezone(UTC) - now.astimezone(UTC)
        case "7d":
            return timedelta(days=7)
        case _:
            raise InvalidInputError("for", "must be one of those offered")
