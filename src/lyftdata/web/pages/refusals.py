"""The pages of refusals: causes and remedies."""

import re

import msgspec
from starlette.responses import Response

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import Strategy
from lyftdata.core.refusals import RemedyAction, all_causes, cause_of
from lyftdata.server.admin.schemas.refusals import Refusal
from lyftdata.web.page import Page

_MOST = 100
_REFERENCE = re.compile(r"^[0-9A-HJKMNP-TV-Z]{8}$", re.IGNORECASE)


class RemedyLink(msgspec.Struct, frozen=True):
    """A button: what it says, and which page it opens; none changes anything at once."""

    label: str
    path: str
    is_main: bool = False


async def show_list(page: Page) -> Response:
    """Show groups of refusals; a reference typed into the search opens that refusal."""
    page.check_parameters("q", "code")
    codes = sorted(cause.code for cause in all_causes())
    code, q = page.choice("code", codes), page.query("q")
    if _REFERENCE.match(q):
        try:
            await page.services.refusal_queries.get(q)
            return page.redirect(f"/refusals/{q.upper()}")
        except NotFoundError:
            pass
    groups = await page.services.refusal_queries.list_groups(limit=_MOST, code=code or None, q=q or None)
    return page.render("refusals.html", groups=groups, most=_MOST, codes=codes)


async def show(page: Page) -> Response:
    """Show one refusal with the whole reason and its remedies."""
    refusal = await page.services.refusal_queries.get(page.part("reference"))
    remedies = find_remedies(page, refusal)
    other = page.services.directory.find_worker(refusal.other_worker)
    return page.render("refusal.html", refusal=refusal, remedies=remedies, other=other)


def find_remedies(page: Page, refusal: Refusal) -> list[RemedyLink]:
    """Return the buttons that a refusal's cause has, as far as this operator may press them."""
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
        # Nothing says that who sent the key is that Worker: anyone who has a key can claim any ID.
        return [RemedyLink(f"Allow key {key} for {worker_id}…", f"/api-keys/{key}/allow?worker={worker_id}")]
    if action is RemedyAction.ISSUE_API_KEY:
        return [RemedyLink(f"Issue a key for {worker_id}…", f"/issue-api-key?worker={worker_id}")]
    return []
