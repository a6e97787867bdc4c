"""The page on which an operator tries changed rules of an enrollment key against recorded attempts."""

from collections.abc import Mapping
from datetime import timedelta

from starlette.responses import Response

from lyftdata.core.durations import format_duration, parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.server.admin.enrollment_rehearsals import ChangedRules
from lyftdata.server.admin.schemas.enrollment_rehearsals import EnrollmentRehearsal, RehearsedRules
from lyftdata.web.page import Page
from lyftdata.web.pages.enrollment_keys import parse_max_uses, parse_mode

_DAYS = {"1": "The last day", "7": "7 days", "30": "30 days", "90": "90 days", "365": "A year"}
_FIELDS = ("days", "expires", "uses", "worker_name", "networks", "mode", "approve_name", "approve_networks")


async def show(page: Page) -> Response:
    """Show the form with the key's current rules, and which attempts they would refuse."""
    found = await page.services.enrollment_rehearsals.rehearse(page.part("name"), ChangedRules(), days=30)
    typed = {field: page.form.text(field) for field in _FIELDS}
    return _render(page, found, typed if page.form.text("days") else _in_the_form(found.rules))


async def rehearse(page: Page) -> Response:
    """Show which attempts the rules in the form would refuse."""
    page.form.require(*_FIELDS)
    days = page.form.text("days")
    if days not in _DAYS:
        raise InvalidInputError("days", "must be one of those offered")
    changed = ChangedRules(
        expires_in=parse_duration(page.form.text("expires")) if page.form.text("expires") else None,
        max_uses=parse_max_uses(page.form.text("uses")),
        worker_name=page.form.text("worker_name") or None,
        networks=page.form.words("networks"),
        mode=parse_mode(page.form.text("mode")),
        approve_name=page.form.text("approve_name") or None,
        approve_networks=page.form.words("approve_networks"),
    )
    found = await page.services.enrollment_rehearsals.rehearse(page.part("name"), changed, days=int(days))
    return _render(page, found, {field: page.form.text(field) for field in _FIELDS})


def _render(page: Page, found: EnrollmentRehearsal, values: Mapping[str, str]) -> Response:
    page.services.budget.charge_check(page.actor.account, found.attempts)
    find_worker = page.services.directory.find_worker
    there = {item.worker_id for item in found.items if item.worker_id and find_worker(item.worker_id)}
    return page.render("enrollment_rehearsal.html", found=found, values=values, offered=_DAYS, there=there)


def _in_the_form(rules: RehearsedRules) -> dict[str, str]:
    """Return rules as an operator would enter them."""
    return {
        "days": "30",
        "expires": ""
        if rules.expires_in_s is None
        else format_duration(timedelta(seconds=rules.expires_in_s)),
        "uses": "" if rules.max_uses is None else str(rules.max_uses),
        "worker_name": rules.worker_name or "",
        "networks": ", ".join(rules.networks),
        "mode": rules.mode.value,
        "approve_name": rules.approve_name or "",
        "approve_networks": ", ".join(rules.approve_networks),
    }
