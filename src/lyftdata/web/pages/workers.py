"""The list of Workers: its search, order, columns and facets."""

from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from lyftdata.core.durations import describe_span
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_verdict import Presence
from lyftdata.core.query_words import MAX_LENGTH
from lyftdata.core.records import KeyRotation, State, Strategy, WorkerRecord, key_rotation_of
from lyftdata.core.worker_query import (
    EMPTY_QUERY,
    Field,
    QueryError,
    WorkerQuery,
    is_asked,
    parse_worker_query,
    with_term,
)
from lyftdata.server.admin.worker_order import Column
from lyftdata.server.http.problems import status_of_error
from lyftdata.web.columns import COLUMNS, chosen_columns
from lyftdata.web.cookies import set_columns
from lyftdata.web.page import Page
from lyftdata.web.sorting import Sorting

PER_PAGE = 50
_MAX_REPEATED = 10
_SORTING = Sorting(
    path="/workers",
    columns=[column.value for column in Column],
    default="name",
    highest_first=(Column.SEEN, Column.CREATED),
)
_LABELS_TYPED = 500


class Counts(msgspec.Struct, frozen=True):
    """How many Workers there are, how many more are archived, and how many have not rotated their key yet."""

    present: int
    archived: int
    not_rotated: int


class Facet(msgspec.Struct, frozen=True):
    """A link that narrows the list: the value, the search that it leads to, and whether that value is already selected."""

    value: str
    search: str
    is_on: bool


async def show_list(page: Page) -> Response:
    """Show a page of the Workers that the filters leave."""
    sort, query, is_rejected = _SORTING.default, EMPTY_QUERY, False
    found, shown, number = list[WorkerRecord](), list[WorkerRecord](), 1
    try:
        page.check_parameters("q", "sort", "page", "labels", "action", "all")
        sort = _SORTING.choice(page)
        query = parse_worker_query(search_text(page))
        found = await page.services.worker_queries.find(query, scope=page.actor.scope)
        number = page.number(_pages(found))
        first = await page.services.worker_queries.sort(
            found,
            Column(sort.removeprefix("-")),
            descending=sort.startswith("-"),
            limit=number * PER_PAGE,
        )
        shown = first[(number - 1) * PER_PAGE :]
    except InvalidInputError as error:
        # Nothing is listed, so that nothing can be checked by mistake.
        page.problem, is_rejected = page.problem or error, True
    kept_for = page.services.settings.replaced_kept_for
    counts = _counts(page)
    # The error in a search that is still being typed is shown in place of its result.
    is_typed = isinstance(page.problem, QueryError) and "hx-request" in page.request.headers
    return page.render(
        "workers.html",
        status=200 if page.problem is None or is_typed else status_of_error(page.problem),
        workers=await page.services.worker_queries.show(shown),
        total=len(found),
        everything=counts.present,
        archived=counts.archived,
        kept_for=describe_span(kept_for) if kept_for else "",
        repeated=[]
        if page.actor.scope.is_limited
        else page.services.repeated_registrations.groups()[:_MAX_REPEATED],
        not_rotated=counts.not_rotated,
        number=number,
        pages=_pages(found),
        order=_SORTING.order(sort, q=search_text(page)),
        columns=chosen_columns(page),
        every_column=COLUMNS,
        is_rejected=is_rejected,
        searched=search_text(page),
        max_search=MAX_LENGTH,
        facets=_facets(query),
        finds_archived=query.wants_archived,
        presence=next((each for each in Presence if is_asked(query, Field.PRESENCE, each)), None),
        finds_not_rotated=is_asked(query, Field.ROTATION, KeyRotation.ASKED),
        parameters={"q": search_text(page), "sort": "" if sort == _SORTING.default else sort},
        ticked=frozenset(page.form.all("id") or page.request.query_params.getlist("id")),
        added_labels=typed_labels(page),
    )


def _pages(found: Sequence[WorkerRecord]) -> int:
    return max(1, -(-len(found) // PER_PAGE))


def _counts(page: Page) -> Counts:
    """Count the Workers within the operator's scope; for a whole fleet the directory knows the numbers."""
    directory, scope = page.services.directory, page.actor.scope
    if not scope.is_limited:
        return Counts(directory.worker_count(), directory.archived_count(), directory.count_rotations_asked())
    within = [worker for worker in directory.workers() if scope.covers_worker(worker)]
    archived = sum(worker.archived_at is not None for worker in within)
    asked = sum(key_rotation_of(worker) is KeyRotation.ASKED for worker in within)
    return Counts(len(within) - archived, archived, asked)


async def choose_columns(page: Page) -> Response:
    """Store which columns this operator wants to see in this browser."""
    chosen = [name for name in COLUMNS if name in page.form.all("column")]
    response = page.redirect("/workers", query=list_path(page, with_ticks=False).partition("?")[2])
    set_columns(response, page.request, page.services, operator=page.actor.operator, columns=chosen)
    return response


def list_parameters(page: Page) -> dict[str, str]:
    """Return the parameters that restore the list: its filter, order and page, and the labels entered below it."""
    parameters = {"q": search_text(page)} | {name: page.query(name) for name in ("sort", "page")}
    return {name: text for name, text in (parameters | {"labels": typed_labels(page)}).items() if text}


def typed_labels(page: Page) -> str:
    """Return the labels to add, as entered below the list."""
    return page.form.text("labels") or page.request.query_params.get("labels", "").strip()[:_LABELS_TYPED]


def list_path(page: Page, *, with_ticks: bool) -> str:
    """Return the path that restores the list, with or without what was checked and entered below it."""
    pairs = list(list_parameters(page).items())
    if with_ticks:
        ids = page.form.all("id") or page.request.query_params.getlist("id")
        pairs += [("id", worker_id) for worker_id in ids]
    else:
        pairs = [(name, text) for name, text in pairs if name != "labels"]
    return "/workers" + (f"?{urlencode(pairs)}" if pairs else "")


def search_text(page: Page) -> str:
    """Return the search as it was entered; "" for none."""
    # One character more than a search may have: a longer one is rejected, not truncated to a different search.
    return page.query("q", max_length=MAX_LENGTH + 1)


def _facets(query: WorkerQuery) -> list[tuple[str, list[Facet]]]:
    """Return links that add a term to the search, or remove it; each produces a search that could have been entered."""
    return [
        (title, [_facet(query, field, value) for value in values])
        for title, field, values in (
            ("Status", Field.STATUS, list(State)),
            ("Strategy", Field.STRATEGY, list(Strategy)),
            ("Expected", Field.PRESENCE, list(Presence)),
        )
    ]


def _facet(query: WorkerQuery, field: Field, value: str) -> Facet:
    is_on = is_asked(query, field, value)
    return Facet(value, with_term(query, field, "" if is_on else value), is_on)
