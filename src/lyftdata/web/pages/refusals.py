"""The pages of refusals: causes and remedies."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import NotFoundError
from lyftdata.core.query_values import fold
from lyftdata.core.records import Strategy
from lyftdata.core.refusals import RemedyAction, all_causes, cause_of
from lyftdata.server.admin.refusal_inbox import MAX_SUBJECTS, CaseState, RefusalCase
from lyftdata.server.admin.schemas.refusals import Refusal
from lyftdata.web.page import Page
from lyftdata.web.sorting import Order, Sorting, in_order

# Callers that are listed under each cause; more once the operator has chosen one cause.
_CALLERS_OF_EACH, _CALLERS_OF_ONE = 20, 500
_MAX_SUBJECT = 128
_IGNORED_FOR = {
    "1h": "1 hour",
    "8h": "8 hours",
    "24h": "1 day",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
}
REFERENCE = re.compile(r"^[0-9A-HJKMNP-TV-Z]{8}$", re.IGNORECASE)


class RemedyLink(msgspec.Struct, frozen=True):
    """A button: its text, and the page it opens; none changes anything at once."""

    label: str
    path: str
    is_main: bool = False


class Cause(msgspec.Struct, frozen=True):
    """The cases with one cause, and the first of them, which are listed; `query` names cases for the page that confirms ignoring them."""

    code: str
    meaning: str
    cases: Sequence[RefusalCase]
    listed: Sequence[RefusalCase]
    query: str

    @property
    def count(self) -> int:
        """Return the number of refusals."""
        return sum(case.count for case in self.cases)

    @property
    def last_at(self) -> datetime:
        """Return when the latest of them was."""
        return max(case.latest.last_at for case in self.cases)


# What the inbox can be sorted by. Within a cause, callers at more addresses count as more callers.
_ORDERS = {"latest": "Latest", "count": "Refusals", "callers": "Callers", "cause": "Cause", "name": "Caller"}
_CAUSE_VALUES: Mapping[str, Callable[[Cause], Any]] = {
    "latest": lambda cause: cause.last_at,
    "count": lambda cause: cause.count,
    "callers": lambda cause: len(cause.cases),
    "cause": lambda cause: cause.code,
    # By the first of those that it shows.
    "name": lambda cause: fold(cause.cases[0].name),
}
_CASE_VALUES: Mapping[str, Callable[[RefusalCase], Any]] = {
    "latest": lambda case: case.latest.last_at,
    "count": lambda case: case.count,
    "callers": lambda case: len({group.address for group in case.groups}),
    "cause": lambda case: case.code,
    "name": lambda case: fold(case.name),
}
_SORTING = Sorting(
    path="/refusals",
    columns=_ORDERS,
    default="-latest",
    highest_first=("latest", "count", "callers"),
)


async def show_list(page: Page) -> Response:
    """Show refusals by cause, those that are open first of all; a reference typed into the search opens that refusal."""
    page.check_parameters("q", "code", "state", "sort")
    codes = sorted(cause.code for cause in all_causes())
    code, q = page.choice("code", codes), page.query("q")
    state = CaseState(page.choice("state", list(CaseState)) or CaseState.OPEN)
    shown_state = "" if state is CaseState.OPEN else state.value
    order = _SORTING.read(page, q=q, code=code, state=shown_state)
    if REFERENCE.match(q):
        try:
            await page.services.refusal_queries.get(q)
            return page.redirect(f"/refusals/{q.upper()}")
        except NotFoundError:
            pass
    cases = await page.services.refusal_inbox.cases(code=code or None, q=q or None)
    counts = Counter(case.state for case in cases)
    return page.render(
        "refusals.html",
        causes=_by_cause(
            [case for case in cases if case.state is state],
            order,
            listed=_CALLERS_OF_ONE if code else _CALLERS_OF_EACH,
        ),
        order=order,
        orders=_ORDERS,
        counts=[(each, counts[each]) for each in CaseState],
        state=state,
        most_ignored=MAX_SUBJECTS,
        most_listed=_CALLERS_OF_ONE,
        codes=codes,
    )


def _by_cause(cases: Sequence[RefusalCase], order: Order, *, listed: int) -> list[Cause]:
    """Return the cases by cause; the causes, and the cases of each, in one order; of each cause so many are listed."""
    by_code: dict[str, list[RefusalCase]] = {}
    for case in in_order(cases, order, _CASE_VALUES, tie=lambda case: case.subject):
        by_code.setdefault(case.code, []).append(case)
    causes = [
        Cause(
            code,
            found[0].latest.meaning,
            found,
            found[:listed],
            _query_of(code, [case.subject for case in found]),
        )
        for code, found in by_code.items()
    ]
    return in_order(causes, order, _CAUSE_VALUES, tie=lambda cause: cause.code)


def _query_of(code: str, subjects: Sequence[str]) -> str:
    return urlencode([("code", code), *(("subject", subject) for subject in subjects[:MAX_SUBJECTS])])


async def ask_ignore(page: Page) -> Response:
    """Confirm ignoring refusals, explain the effect, and ask for how long."""
    return page.render(
        "refusals_ignore.html",
        code=page.choice("code", sorted(cause.code for cause in all_causes())),
        subjects=_subjects(page),
        spans=_IGNORED_FOR,
    )


async def ignore(page: Page) -> Response:
    """Ignore refusals of one cause for a time."""
    page.form.require("code", "for")
    await page.services.refusal_inbox.ignore(
        page.form.text("code"),
        _subjects(page),
        for_=parse_duration(page.form.text("for")),
        note=page.form.text("note"),
        actor=page.actor,
    )
    return page.redirect("/refusals", done="Ignored: they raise no alert until the time is over.")


async def reopen(page: Page) -> Response:
    """Stop ignoring refusals."""
    page.form.require("code")
    await page.services.refusal_inbox.reopen(page.form.text("code"), _subjects(page), actor=page.actor)
    return page.redirect("/refusals", done="They are open again.")


def _subjects(page: Page) -> list[str]:
    given = page.form.all("subject") or page.request.query_params.getlist("subject")
    return list(dict.fromkeys(text[:_MAX_SUBJECT] for text in given))[:MAX_SUBJECTS]


async def show(page: Page) -> Response:
    """Show one refusal with its full cause and its remedies."""
    refusal = await page.services.refusal_queries.get(page.part("reference"))
    remedies = find_remedies(page, refusal)
    other = page.services.directory.find_worker(refusal.other_worker)
    worker = page.services.directory.find_worker(refusal.claimed_worker)
    disabled = worker if worker is not None and not worker.enabled and refusal.proved else None
    return page.render("refusal.html", refusal=refusal, remedies=remedies, other=other, disabled=disabled)


def find_remedies(page: Page, refusal: Refusal) -> list[RemedyLink]:
    """Return the buttons for a refusal's cause that this operator may use."""
    worker = page.services.directory.find_worker(refusal.claimed_worker)
    cause = cause_of(refusal.code)
    action = None if cause is None else cause.remedy_action
    remedies: list[RemedyLink] = []
    if page.may("workers.write"):
        remedies += _by_changing(page, refusal, action)
    if worker is not None:
        remedies.append(RemedyLink(f"Open Worker {worker.id}", f"/workers/{worker.id}"))
    other = page.services.directory.find_worker(refusal.other_worker)
    if other is not None:
        remedies.append(RemedyLink(f"Open Worker {other.id}", f"/workers/{other.id}"))
    if action is RemedyAction.OPEN_ENROLLMENT:
        remedies.append(RemedyLink("Open Auto-Enrollment", "/enrollment"))
    return remedies


def _by_changing(page: Page, refusal: Refusal, action: RemedyAction | None) -> list[RemedyLink]:
    worker = page.services.directory.find_worker(refusal.claimed_worker)
    if worker is None:
        is_an_id = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", refusal.claimed_worker)
        if action is RemedyAction.ADD_WORKER and is_an_id:
            path = f"/add-worker?id={refusal.claimed_worker}"
            return [RemedyLink(f"Add Worker {refusal.claimed_worker}…", path)]
        return []
    if action is RemedyAction.ENABLE_WORKER and refusal.proved:
        return [RemedyLink(f"Enable {worker.id}…", f"/workers/{worker.id}/enable", is_main=True)]
    if worker.strategy is Strategy.API_KEY:
        return _by_api_key(worker.id, refusal.api_key, action)
    return []


def _by_api_key(worker_id: str, key: str, action: RemedyAction | None) -> list[RemedyLink]:
    if action is RemedyAction.ALLOW_API_KEY and key:
        # The sender of the key is not known to be that Worker: anyone who has a key can claim any ID.
        return [RemedyLink(f"Allow key {key} for {worker_id}…", f"/api-keys/{key}/allow?worker={worker_id}")]
    if action is RemedyAction.ISSUE_API_KEY:
        return [RemedyLink(f"Issue a key for {worker_id}…", f"/issue-api-key?worker={worker_id}")]
    return []
