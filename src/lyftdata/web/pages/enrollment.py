"""The page of Auto-Enrollment: its state, its keys, and copyable texts for hosts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from lyftdata.core.worker_query import parse_worker_query
from lyftdata.server.admin.schemas.enrollment import EnrollmentKey
from lyftdata.web.page import Page
from lyftdata.web.snippets import snippets
from lyftdata.web.sorting import Order, Sorting, folded, in_order, place_in

_state = place_in("live", "used_up", "expired", "revoked")
_VALUES: Mapping[str, Callable[[EnrollmentKey], Any]] = {
    "name": lambda key: key.name,
    "status": lambda key: _state(key.status),
    "uses": lambda key: key.uses,
    "enrolled": lambda key: key.workers,
    "expires": lambda key: key.expires_at,
    "mode": lambda key: (key.mode, key.pending, key.warned),
    "only-for": lambda key: (
        folded([key.worker_name or "", *key.networks]) if key.worker_name or key.networks else None
    ),
}
_SORTING = Sorting(path="/enrollment", columns=_VALUES, default="name", highest_first=("uses", "enrolled"))


async def show(page: Page) -> Response:
    """Show the state by fingerprints; the secret itself is not known to any page. With a scope there are only the keys within it."""
    page.check_parameters("sort")
    order = _SORTING.read(page)
    if page.actor.scope.is_limited:
        return await _show_in_scope(page, order)
    enrolled = await page.services.worker_queries.find(
        parse_worker_query("strategy:auto_enrollment"), scope=page.actor.scope
    )
    status = await page.services.enrollment_queries.show()
    issued = [
        key
        for key in await page.services.enrollment_key_queries.list_all(scope=page.actor.scope)
        if key.source == "issued"
    ]
    known = {key.fingerprint for key in status.keys}
    known |= {record.fingerprint for record in page.services.directory.enrollment_keys()}
    former: dict[str, int] = {}
    for worker in enrolled:
        if worker.enrolled_with and worker.enrolled_with not in known:
            former[worker.enrolled_with] = former.get(worker.enrolled_with, 0) + 1
    plain = {"LYFTDATA_URL": page.services.issuer, "LYFTDATA_WORKER_NAME": "choose-a-name"}
    return page.render(
        "enrollment.html",
        enrollment=status,
        issued=_sorted(issued, order),
        order=order,
        former=sorted(former.items(), key=lambda pair: -pair[1]),
        total=len(enrolled),
        pending=page.services.directory.pending().total(),
        snippets=snippets(
            plain,
            secret="LYFTDATA_AUTO_ENROLLMENT_KEY",  # noqa: S106 - a variable's name
            name="worker",
            ca=await page.ca_to_paste(),
        ),
    )


async def _show_in_scope(page: Page, order: Order) -> Response:
    """Show keys and waiting Workers within a scope: the secrets of the settings, and what they enrolled, are the whole Server's."""
    scope = page.actor.scope
    return page.render(
        "enrollment_in_scope.html",
        issued=_sorted(await page.services.enrollment_key_queries.list_all(scope=scope), order),
        order=order,
        pending=len(await page.services.approval_queries.list_pending(scope=scope)),
    )


def _sorted(keys: Sequence[EnrollmentKey], order: Order) -> list[EnrollmentKey]:
    return in_order(keys, order, _VALUES, tie=lambda key: key.name)
