"""The pages of an incident: which Workers used a key or an address, the confirmation of a cut-off, and its progress."""

import contextlib
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError, NotFoundError
from lyftdata.core.incidents import find_public_id
from lyftdata.core.query_words import quote as quote_value
from lyftdata.core.second_operator import ProtectedAction
from lyftdata.server.admin.incident_response import Action, Wanted
from lyftdata.server.admin.schemas.incidents import IncidentReport
from lyftdata.web.page import Page
from lyftdata.web.render import HEADERS

_SHOWN = 200
_MAX_TICKED = 200
# How to search for the Workers of an incident, by the kind of subject in the audit log.
_SEARCHED_BY = {
    "api_key": "key:=",
    "enrollment_key": "enrolled:=",
    "worker": "id:=",
    "address": "address:",
    "host": "host:=",
}
_TARGETS = ("all", "chosen", "none")


async def show(page: Page) -> Response:
    """Show the form and, once there is a subject, its report."""
    page.check_parameters("subject", "since", "full", "whom", "action", "revoke")
    report = None
    if page.query("subject") and page.request.method == "GET":
        report = await page.services.incident_queries.report(page.query("subject"), page.query("since"))
    limit = None if page.query("full") == "yes" else _SHOWN
    return page.render("incident.html", report=report, limit=limit, ticked=frozenset(_given_ids(page)))


async def find(page: Page) -> Response:
    """Redirect to the report of the entered subject; a pasted leaked key is replaced by its public ID, and never appears in a URL."""
    typed = page.form.secret("subject").reveal().strip()
    subject, since = find_public_id(typed) or typed, page.form.text("since")
    try:
        report = await page.services.incident_queries.report(subject, since)
    except NotFoundError as error:
        report = await _report_of_host(page, subject, since, otherwise=error)
    return page.redirect("/incident", query=urlencode({"subject": report.subject.text, "since": since}))


async def _report_of_host(page: Page, name: str, since: str, *, otherwise: NotFoundError) -> IncidentReport:
    """Return the report of the host with this name; raises `otherwise` if no Worker was on such a host."""
    if otherwise.code == "incident_subject_not_found":
        with contextlib.suppress(InvalidInputError):
            report = await page.services.incident_queries.report(f"host:{name}", since)
            if report.workers_total:
                return report
    raise otherwise


async def ask_cut_off(page: Page) -> Response:
    """Explain what a cut-off does, with numbers, and ask for confirmation."""
    page.check_parameters("subject", "since", "whom", "action", "revoke")
    report = await page.services.incident_queries.report(page.query("subject"), page.query("since"))
    wanted = _wanted(page)
    ids = {worker.id for worker in report.workers} if wanted.worker_ids is None else set(wanted.worker_ids)
    chosen = [worker for worker in report.workers if worker.id in ids]
    connected = _connected(report, wanted, chosen_ids=ids)
    return page.render(
        "incident_confirm.html",
        report=report,
        wanted=wanted,
        must_confirm=await page.services.second_operator_settings.must_confirm(
            ProtectedAction.DELETE_WORKERS if wanted.action == "delete" else ProtectedAction.DISABLE_WORKERS,
            workers=report.workers_total if wanted.worker_ids is None else len(chosen),
        ),
        targets=page.choice("whom", _TARGETS),
        number=report.workers_total if wanted.worker_ids is None else len(chosen),
        connected=connected,
        by_key=connected - sum(worker.connected_since is not None for worker in chosen)
        if wanted.worker_ids
        else 0,
        enrolled=sum(worker.strategy.value == "auto_enrollment" for worker in chosen),
        last_end=max((tokens.valid_until for tokens in report.tokens), default=None),
    )


async def cut_off(page: Page) -> Response:
    """Cut off, and go to the page that shows the progress."""
    page.form.require("subject", "since", "whom", "action")
    wanted = _wanted(page)
    if wanted.worker_ids is not None:
        # A Worker checked in the report may have been deleted since: that must not keep the others from being cut off.
        there = [one for one in wanted.worker_ids if page.services.directory.find_worker(one) is not None]
        wanted = msgspec.structs.replace(wanted, worker_ids=there)
    number = await page.services.incident_response.cut_off(wanted, actor=page.actor)
    return page.redirect(f"/incident/cut-offs/{number}")


async def progress(page: Page) -> Response:
    """Show how many of a cut-off's Workers are still connected."""
    text = page.part("number")
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0  # noqa: PLR2004
    found = await page.services.incident_queries.progress(number)
    kind, _, name = found.subject.partition(":")
    return page.render(
        "incident_progress.html",
        found=found,
        subject=f"{kind.replace('_', '-')}:{name}",
        disabled_search=f"{_SEARCHED_BY[kind]}{quote_value(name)} status:disabled",
    )


async def download(page: Page) -> Response:
    """Download the report as a file."""
    page.check_parameters("subject", "since")
    report = await page.services.incident_queries.report(page.query("subject"), page.query("since"))
    name = f"lyftdata-incident-{page.services.clock():%Y%m%d-%H%M%S}.json"
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(report.model_dump_json(indent=2), media_type="application/json", headers=headers)


def _connected(report: IncidentReport, wanted: Wanted, *, chosen_ids: set[str]) -> int:
    """Return how many connected Workers a cut-off disconnects: the chosen ones, and those that use a revoked API key."""
    if wanted.worker_ids is None:
        return report.connected
    by_key = wanted.revoke_key and report.subject.kind.value == "api-key"
    return sum(
        worker.connected_since is not None
        and (worker.id in chosen_ids or (by_key and "connected_by_it" in worker.reasons))
        for worker in report.workers
    )


def _wanted(page: Page) -> Wanted:
    targets, action = page.choice("whom", _TARGETS), page.choice("action", ("disable", "delete"))
    if not targets or not action:
        raise InvalidInputError("whom", "must name the Workers to cut off, and the action")
    ids = _given_ids(page)
    if targets == "chosen" and not ids:
        raise InvalidInputError("workers", "Tick at least one Worker first.")
    if len(ids) > _MAX_TICKED:
        raise InvalidInputError(
            "workers", f"At most {_MAX_TICKED} Workers can be chosen here. Use all, or `lyftdata incident`."
        )
    chosen: Action = "delete" if action == "delete" else "disable"
    return Wanted(
        subject=page.query("subject"),
        since=page.query("since"),
        worker_ids={"all": None, "chosen": ids, "none": []}[targets],
        action=chosen,
        revoke_key=page.query("revoke") == "yes",
    )


def _given_ids(page: Page) -> list[str]:
    return list(dict.fromkeys(page.form.all("id") or page.request.query_params.getlist("id")))
