"""The page of the audit log: filter, follow, export, verify."""

from starlette.responses import Response

from lyftdata.server.admin.audit_export import ExportForm
from lyftdata.web.page import Page
from lyftdata.web.render import HEADERS

_MOST = 100
# So many events are checked in a second; longer logs are when somebody asks for it.
_VERIFIED_AT_ONCE = 20_000


async def show(page: Page) -> Response:
    """Show decisions about trust, the latest first."""
    page.check_parameters("action", "subject", "before", "follow")
    text = page.query("before")
    before = int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 18 and int(text) else None  # noqa: PLR2004
    found = await page.services.audit_queries.list_page(
        limit=_MOST,
        before=before,
        action=page.query("action") or None,
        subject=page.query("subject") or None,
    )
    return page.render(
        "audit.html",
        found=found,
        is_followed=page.query("follow") == "yes" and before is None,
        is_verified_at_once=page.services.store.audit_length <= _VERIFIED_AT_ONCE,
        length=page.services.store.audit_length,
        checkpoint=page.services.checkpoints.latest,
    )


async def verified(page: Page) -> Response:
    """Check the whole chain, and show the result."""
    page.services.budget.charge_check(page.actor.operator, page.services.store.audit_length)
    template = "_verified.html" if "hx-request" in page.request.headers else "verified.html"
    return page.render(template, report=await page.services.audit_queries.verify())


async def download(page: Page) -> Response:
    """Hand out the whole log as a file."""
    page.check_parameters("format")
    form = ExportForm(page.choice("format", list(ExportForm)) or ExportForm.JSONL)
    ending = "signed.jsonl" if form is ExportForm.SIGNED else form.value
    name = f"lyftdata-audit-{page.services.clock():%Y%m%d-%H%M%S}.{ending}"
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return await page.services.audit_export.respond(form, page.actor, headers=headers)
