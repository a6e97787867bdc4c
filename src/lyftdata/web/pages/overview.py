"""The overview page: Workers and refusals over time, and alerts."""

import functools
import heapq
from collections import Counter
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from lyftdata.core.records import State
from lyftdata.server.admin.schemas.status import Alert, OneServer, Period
from lyftdata.server.admin.schemas.workers import Worker
from lyftdata.server.runtime.services import Services
from lyftdata.web.charts import Chart, bar_chart, line_chart
from lyftdata.web.page import Page
from lyftdata.web.shared import SharedValues

_SHOWN_AT_ONCE = 8
_SHOWN_IF_ANY = {State.SUPERSEDED, State.PENDING, State.DENIED, State.EXPIRED, State.ARCHIVED}


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of the fleet: the same for every operator."""

    total: int
    counts: Sequence[tuple[State, int]]
    connected: Chart
    admitted: Chart
    refused: Chart
    concerns: Sequence[Alert]
    latest: Sequence[Worker]
    servers: Sequence[OneServer]


async def show(page: Page) -> Response:
    """Show counts, plots and concerns; with few Workers, the Workers too."""
    page.check_parameters("period")
    services, period = page.services, Period(page.choice("period", list(Period)) or Period.HOUR)
    shared: SharedValues = page.request.app.state.shared
    numbers = await shared.get(("overview", period), functools.partial(_numbers, services, period))
    return page.render(
        "overview.html",
        numbers=numbers,
        periods=list(Period),
        period=period,
        server=services.status_queries.status(),
    )


async def _numbers(services: Services, period: Period) -> Numbers:
    records = list(services.directory.workers())
    listed = (record for record in records if record.archived_at is None)
    counts = Counter(services.worker_queries.state_of(record) for record in records)
    history = await services.status_queries.history(period)
    latest = heapq.nlargest(_SHOWN_AT_ONCE, listed, key=lambda record: record.created_at)
    return Numbers(
        total=services.directory.worker_count(),
        counts=[(state, counts[state]) for state in State if state not in _SHOWN_IF_ANY or counts[state]],
        connected=line_chart("Workers connected", history, lambda point: point.online),
        admitted=bar_chart("Admissions", history, lambda point: point.admitted),
        refused=bar_chart("Refusals", history, lambda point: point.refused),
        concerns=await services.alerts.find(),
        latest=await services.worker_queries.show(latest),
        servers=await services.status_queries.servers(),
    )
