"""The page of Workers that wait for approval, and the decision about those that were checked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.query_values import fold
from lyftdata.core.records import Approval
from lyftdata.core.text import count
from lyftdata.server.admin.approvals import Decided
from lyftdata.server.admin.schemas.approvals import MAX_AT_ONCE, PendingWorker
from lyftdata.server.http.problems import status_of_error
from lyftdata.web.page import Page
from lyftdata.web.sorting import Sorting, folded, in_order

_VALUES: Mapping[str, Callable[[PendingWorker], Any]] = {
    "name": lambda worker: fold(worker.name),
    "fingerprint": lambda worker: worker.thumbprint,
    "address": lambda worker: worker.address,
    "host": lambda worker: folded(worker.host.get("hostname")),
    "labels": lambda worker: sorted(worker.labels.items()) or None,
    "key": lambda worker: worker.enrollment_key or worker.enrolled_with,
    "since": lambda worker: worker.requested_at,
    "expires": lambda worker: worker.expires_at,
}
_SORTING = Sorting(path="/approvals", columns=_VALUES, default="since")
_ACTIONS = {"approve": "approved", "deny": "denied"}


async def show(page: Page) -> Response:
    """List the Workers that wait."""
    order = _SORTING.read(page)
    found = await page.services.approval_queries.list_pending(scope=page.actor.scope)
    return page.render(
        "approvals.html",
        pending=in_order(found, order, _VALUES, tie=lambda worker: worker.id),
        order=order,
        status=200 if page.problem is None else status_of_error(page.problem),
        ticked=frozenset(page.request.query_params.getlist("id")),
    )


async def ask(page: Page) -> Response:
    """Show the Workers that were checked, and ask for confirmation."""
    action = _action(page.query("action"))
    try:
        ids = _ids(page.request.query_params.getlist("id"))
    except InvalidInputError as error:
        page.problem = error
        return await show(page)
    pending = [
        worker
        for worker in await page.services.approval_queries.list_pending(scope=page.actor.scope)
        if worker.id in ids
    ]
    # A denied or expired Worker can still be approved, from its own page.
    denied = [
        worker
        for worker in await page.services.worker_queries.show(
            [
                record
                for record in map(page.services.directory.find_worker, ids)
                if record is not None and page.actor.scope.covers_worker(record)
            ]
        )
        if worker.approval in {Approval.DENIED, Approval.EXPIRED} and action == "approve"
    ]
    return page.render("approvals_confirm.html", action=action, pending=pending, denied=denied)


async def decide(page: Page) -> Response:
    """Approve or deny the confirmed Workers."""
    action, ids = _action(page.form.text("action")), _ids(page.form.all("id"))
    approvals = page.services.approvals
    decision = approvals.approve if action == "approve" else approvals.deny
    decided = await decision(ids, actor=page.actor)
    return page.redirect("/approvals", done=_summary(decided, _ACTIONS[action]))


def _action(text: str) -> str:
    if text not in _ACTIONS:
        raise InvalidInputError("action", "The action must be approve or deny.")
    return text


def _ids(given: Sequence[str]) -> list[str]:
    ids = list(dict.fromkeys(given))
    if not ids:
        raise InvalidInputError("workers", "Tick at least one Worker first.")
    if len(ids) > MAX_AT_ONCE:
        raise InvalidInputError("workers", f"At most {MAX_AT_ONCE} Workers can be decided about at once.")
    return ids


def _summary(decided: Sequence[Decided], what: str) -> str:
    failed = [one for one in decided if one.problem]
    stands = len(decided) - len(failed)
    sentences = [f"{count(stands, 'Worker')} {'was' if stands == 1 else 'were'} {what}."] if stands else []
    sentences += [f"{one.name or one.worker_id} was not: {one.detail}" for one in failed[:3]]
    if len(failed) > len(failed[:3]):
        sentences.append(f"{count(len(failed) - 3, 'more Worker')} could not be {what}.")
    return " ".join(sentences)
