"""The inbox of refusals: what they mean, and their remedies."""

import re

import msgspec
from starlette.responses import Response

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import Strategy
from lyftdata.core.refusals import all_causes
from lyftdata.server.admin.schemas.refusals import Refusal
from lyftdata.web.page import Page

_MOST = 100
_REFERENCE = re.compile(r"^[0-9A-HJKMNP-TV-Z]{8}$", re.IGNORECASE)
_KEY_CAUSES = {"malformed_api_key", "wrong_api_key", "api_key_revoked", "api_key_rotated", "api_key_expired"}
_ENROLLMENT_CAUSES = {
    "enrollment_disabled",
    "wrong_enrollment_key",
    "malformed_proof",
    "proof_expired",
    "proof_replayed",
    "proof_not_for_key",
    "invalid_registration",
}


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
    remedies: list[RemedyLink] = []
    if page.may("workers.write"):
        remedies += _by_changing(page, refusal)
    if worker is not None:
        remedies.append(RemedyLink(f"Open Worker {worker.id}", f"/workers/{worker.id}"))
    other = page.services.directory.find_worker(refusal.other_worker)
    if other is not None:
        remedies.append(RemedyLink(f"Open Worker {other.id}", f"/workers/{other.id}"))
    if refusal.code in _ENROLLMENT_CAUSES:
        remedies.append(RemedyLink("Open Auto-Enrollment", "/enrollment"))
    return remedies


def _by_changing(page: Page, refusal: Refusal) -> list[RemedyLink]:
    worker = page.services.directory.find_worker(refusal.claimed_worker)
    if worker is None:
        is_an_id = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", refusal.claimed_worker)
        if refusal.code == "unknown_worker" and is_an_id:
            path = f"/add-worker?id={refusal.claimed_worker}"
            return [RemedyLink(f"Add Worker {refusal.claimed_worker}…", path)]
        return []
    if refusal.code == "worker_disabled" and refusal.proved:
        return [RemedyLink(f"Enable {worker.id}…", f"/workers/{worker.id}/enable", is_main=True)]
    key = refusal.api_key
    if refusal.code == "api_key_not_for_worker" and key and worker.strategy is Strategy.API_KEY:
        # Nothing says that who sent the key is that Worker: anyone who has a key can claim any ID.
        return [RemedyLink(f"Allow key {key} for {worker.id}…", f"/api-keys/{key}/allow?worker={worker.id}")]
    if refusal.code in _KEY_CAUSES and worker.strategy is Strategy.API_KEY:
        return [RemedyLink(f"Issue a key for {worker.id}…", f"/issue-api-key?worker={worker.id}")]
    return []
