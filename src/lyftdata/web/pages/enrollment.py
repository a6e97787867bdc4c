"""The page of Auto-Enrollment: its state, its keys, and what to paste on a host."""

from starlette.responses import Response

from lyftdata.core.worker_query import parse_worker_query
from lyftdata.web.page import Page
from lyftdata.web.snippets import snippets


async def show(page: Page) -> Response:
    """Show the state by fingerprints; the secret itself is not known to any page. With a scope there are only the keys within it."""
    if page.actor.scope.is_limited:
        return await _show_in_scope(page)
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
        issued=issued,
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


async def _show_in_scope(page: Page) -> Response:
    """Show keys and waiting Workers within a scope: the secrets of the settings, and what they enrolled, are the whole Server's."""
    scope = page.actor.scope
    return page.render(
        "enrollment_in_scope.html",
        issued=await page.services.enrollment_key_queries.list_all(scope=scope),
        pending=len(await page.services.approval_queries.list_pending(scope=scope)),
    )
