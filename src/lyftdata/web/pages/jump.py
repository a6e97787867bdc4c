"""The jump box: finds Workers, keys, labels, a refusal's reference, pages and actions, with the search of the list of Workers."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlencode

import msgspec
from starlette.responses import Response

from lyftdata.core.errors import NotFoundError
from lyftdata.core.names import format_labels
from lyftdata.core.records import EnrollmentKeyRecord, WorkerRecord
from lyftdata.core.redaction import holds_credential
from lyftdata.core.scopes import covers_enrollment_key
from lyftdata.core.text import count
from lyftdata.core.worker_query import QueryError, label_term, parse_worker_query
from lyftdata.server.admin.worker_order import Column
from lyftdata.web.jump_places import ACTIONS, PAGES, Place, find_places
from lyftdata.web.page import Page
from lyftdata.web.pages.refusals import REFERENCE

MAX_TYPED = 200
_MAX_WORKERS = 6
_MAX_OF_A_KIND = 4
_LABELS_OF = 5_000


class Target(msgspec.Struct, frozen=True):
    """A search result: its kind, its name, a detail that distinguishes it, its page, and whether its name is exactly the text."""

    kind: str
    title: str
    path: str
    detail: str = ""
    is_exact: bool = False


async def show(page: Page) -> Response:
    """Show the results for a text: as a page, or as options of the box."""
    text = page.query("q", max_length=MAX_TYPED)
    problem = ""
    targets: list[Target] = []
    if holds_credential(text):
        # The box never sends a key; without scripts, one that was entered is not searched for.
        problem, text = "This holds a key, which is not searched for here.", ""
        if page.may("incident.read"):
            problem = (
                "This holds a key. The Incident page finds who has used it, and keeps it out of the address."
            )
            targets = [Target("Page", "Incident", "/incident")]
    else:
        try:
            targets = await _find(page, text)
        except QueryError as error:
            problem = error.message
            targets = list(_places(page, text))
    is_part = "hx-request" in page.request.headers
    return page.render(
        "_jump_options.html" if is_part else "jump.html", targets=targets, trouble=problem, typed=text
    )


async def _find(page: Page, text: str) -> list[Target]:
    places = list(_places(page, text))
    if not text:
        return places
    workers = await _workers(page, text)
    found = [*await _refusal(page, text), *workers, *places, *_keys(page, text), *_resources(page, text)]
    return sorted(found, key=lambda target: not target.is_exact)


def _places(page: Page, text: str) -> Iterator[Target]:
    def show_all(kind: str, places: Sequence[Place]) -> Iterator[Target]:
        for place in find_places(places, text, is_allowed=page.may):
            yield _named(kind, place.title, place.path, text)

    yield from show_all("Page", PAGES)
    yield from show_all("Action", ACTIONS)


async def _refusal(page: Page, text: str) -> list[Target]:
    if not REFERENCE.match(text) or not page.may("refusals.read"):
        return []
    try:
        refusal = await page.services.refusal_queries.get(text)
    except NotFoundError:
        return []
    return [
        Target(
            "Refusal",
            refusal.reference,
            f"/refusals/{refusal.reference}",
            refusal.code.replace("_", " "),
            is_exact=True,
        )
    ]


async def _workers(page: Page, text: str) -> list[Target]:
    """Return the Worker if the text is its name or ID, otherwise a link to all matching Workers, and the first few."""
    found = await page.services.worker_queries.find(parse_worker_query(text), scope=page.actor.scope)
    if not found:
        return []
    wanted = text.casefold()
    exact = [worker for worker in found if wanted in {worker.id.casefold(), worker.name.casefold()}]
    ordered = await page.services.worker_queries.sort(
        found, Column.NAME, descending=False, limit=2 * _MAX_WORKERS
    )
    first = [
        *exact[:_MAX_WORKERS],
        *(worker for worker in ordered if worker not in exact),
    ]
    shown = await page.services.worker_queries.show(first[:_MAX_WORKERS])
    targets = [
        Target(
            "Worker",
            worker.name,
            f"/workers/{quote(worker.id, safe='')}",
            " · ".join(
                part
                for part in (
                    worker.id if worker.id != worker.name else "",
                    worker.host.get("hostname", ""),
                    worker.address or "",
                    "disabled" if not worker.enabled else worker.status.replace("_", " "),
                )
                if part
            ),
            is_exact=position < len(exact),
        )
        for position, worker in enumerate(shown)
    ]
    if len(found) > 1:
        every = Target("Workers", f"All {count(len(found), 'Worker')} that match", _list(text))
        targets.insert(len(exact[:_MAX_WORKERS]), every)
    return [*targets, *_labels(found, wanted)]


def _labels(found: Sequence[WorkerRecord], wanted: str) -> list[Target]:
    """Return the labels that contain the text: the Workers with these labels are among those found."""
    labels = {
        (key, value)
        for worker in found[:_LABELS_OF]
        for key, value in worker.labels.items()
        if wanted in f"{key}={value}".casefold()
    }
    return [
        Target("Label", format_labels({key: value}), _list(label_term(key, value)))
        for key, value in sorted(labels)[:_MAX_OF_A_KIND]
    ]


def _keys(page: Page, text: str) -> Iterator[Target]:
    wanted, scope, services = text.casefold(), page.actor.scope, page.services
    if page.may("api_keys.read"):
        groups = services.api_key_queries.find(lambda key: wanted in key.name.casefold(), scope=scope)
        for group in groups[:_MAX_OF_A_KIND]:
            name = group[0].name
            yield _named("API key", name, "/api-keys/" + quote(name, safe=""), text)
    if page.may("enrollment.read"):
        by_name: dict[str, list[EnrollmentKeyRecord]] = {}
        for key in services.directory.enrollment_keys():
            if wanted in key.name.casefold():
                by_name.setdefault(key.name, []).append(key)
        names = sorted(name for name, keys in by_name.items() if covers_enrollment_key(scope, keys))
        for name in names[:_MAX_OF_A_KIND]:
            yield _named("Enrollment key", name, "/enrollment/" + quote(name, safe=""), text)


def _resources(page: Page, text: str) -> Iterator[Target]:
    if page.may("resources.read"):
        listed = page.services.resource_queries.list_all(scope=page.actor.scope)
        names = [resource.name for resource in listed if text.casefold() in resource.name.casefold()]
        for name in names[:_MAX_OF_A_KIND]:
            yield _named("Resource", name, "/resources/" + quote(name, safe=""), text)


def _named(kind: str, name: str, path: str, text: str) -> Target:
    return Target(kind, name, path, is_exact=name.casefold() == text.casefold())


def _list(search: str) -> str:
    return "/workers?" + urlencode({"q": search})
