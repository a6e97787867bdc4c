"""The page of the audit log: filter by person, day, kind and subject; follow, export, verify."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from urllib.parse import urlencode

from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.server.admin.audit_export import ExportForm
from lyftdata.store.audit_log import AuditFilter
from lyftdata.web.page import Page
from lyftdata.web.render import HEADERS

_MOST = 50
# This many events can be checked in a second; longer logs are only checked on request.
_VERIFIED_AT_ONCE = 20_000
_FILTERS = ("actor", "action", "subject", "when", "from", "to")
_SPANS = {"today": "Today", "yesterday": "Yesterday", "7d": "Last 7 days"}
_FIRST_DAY, _LAST_DAY = datetime(1970, 1, 2), datetime(9_000, 1, 1)  # noqa: DTZ001 - days of any zone
# Actors other than operators.
_ACTORS = ("enrollment", "server")


async def show(page: Page) -> Response:
    """Show audit events, the latest first."""
    page.check_parameters(*_FILTERS, "before", "follow")
    text = page.query("before")
    before = int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 18 and int(text) else None  # noqa: PLR2004
    wanted = _filter(page)
    found = await page.services.audit_queries.find_page(wanted, limit=_MOST, before=before)
    parameters = {name: page.query(name) for name in _FILTERS}
    return page.render(
        "audit.html",
        found=found,
        parameters=parameters,
        exported=urlencode({name: value for name, value in parameters.items() if value}),
        spans=_SPANS,
        kinds=_kinds(await page.services.audit_queries.known_actions(), page.query("action")),
        actors=[*(record.name for record in await page.services.operators.list()), *_ACTORS],
        is_followed=page.query("follow") == "yes" and before is None,
        is_verified_at_once=page.services.store.audit_length <= _VERIFIED_AT_ONCE,
        length=page.services.store.audit_length,
        checkpoint=page.services.checkpoints.latest,
    )


async def verified(page: Page) -> Response:
    """Check the whole chain, and show the result."""
    page.services.budget.charge_check(page.actor.account, page.services.store.audit_length)
    template = "_verified.html" if "hx-request" in page.request.headers else "verified.html"
    return page.render(template, report=await page.services.audit_queries.verify())


async def download(page: Page) -> Response:
    """Download what the filter matches as a file; in the signed form, the whole log."""
    page.check_parameters("format", *_FILTERS)
    form = ExportForm(page.choice("format", list(ExportForm)) or ExportForm.JSONL)
    ending = "signed.jsonl" if form is ExportForm.SIGNED else form.value
    name = f"lyftdata-audit-{page.services.clock():%Y%m%d-%H%M%S}.{ending}"
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    export = page.services.audit_export
    return await export.respond(form, page.actor, wanted=_filter(page), headers=headers)


def _filter(page: Page) -> AuditFilter:
    since, until = _span(page)
    return AuditFilter(
        action=page.query("action") or None,
        subject=page.query("subject") or None,
        actor=page.query("actor") or None,
        since=None if since is None else since.astimezone(UTC),
        until=None if until is None else until.astimezone(UTC),
    )


def _span(page: Page) -> tuple[datetime | None, datetime | None]:
    """Return the first moment of the span, and the first one after it; days are those of the displayed zone."""
    today = page.now().replace(hour=0, minute=0, second=0, microsecond=0)
    match page.choice("when", list(_SPANS)):
        case "today":
            return today, None
        case "yesterday":
            return today - timedelta(days=1), today
        case "7d":
            return today - timedelta(days=6), None
    until = _day(page, "to")
    return _day(page, "from"), None if until is None else until + timedelta(days=1)


def _day(page: Page, name: str) -> datetime | None:
    text = page.query(name)
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007 - its zone follows
    except ValueError:
        raise InvalidInputError(name, "must be a day like 2026-03-01") from None
    # Denial of service: before the first day of the calendar and after its last one there is no day, in any zone.
    return min(max(day, _FIRST_DAY), _LAST_DAY).replace(tzinfo=page.zone)


def _kinds(actions: Sequence[str], chosen: str) -> list[tuple[str, list[str]]]:
    """Return the actions in the log grouped by what they are about, each group with a wildcard for all of it."""
    found = [
        (kind, [f"{kind}.*", *group])
        for kind, group in groupby(actions, key=lambda action: action.partition(".")[0])
    ]
    is_listed = any(chosen in group for _, group in found)
    return found if is_listed or not chosen else [("other", [chosen]), *found]
