"""The first page: how the fleet is, over time, and what needs attention."""

from collections import Counter

from starlette.responses import Response

from lyftdata.core.records import State
from lyftdata.server import queries
from lyftdata.server.attention import find_concerns
from lyftdata.server.models.status import Period
from lyftdata.server.views import state_of
from lyftdata.web.charts import bar_chart, line_chart
from lyftdata.web.page import Page

_SHOWN_AT_ONCE = 8


async def show(page: Page) -> Response:
    """Show counts, plots and concerns; with few Workers, the Workers too."""
    services = page.services
    records = list(services.directory.workers())
    counts = Counter(state_of(services, record) for record in records)
    history = await queries.history(services, _period(page.query("period")))
    latest = sorted(records, key=lambda record: record.created_at, reverse=True)[:_SHOWN_AT_ONCE]
    return page.render(
        "overview.html",
        total=len(records),
        counts=[(state, counts[state]) for state in State if state is not State.SUPERSEDED or counts[state]],
        periods=list(Period),
        period=history.period,
        connected=line_chart("Workers connected", history, lambda point: point.online),
        admitted=bar_chart("Admissions", history, lambda point: point.admitted),
        refused=bar_chart("Refusals", history, lambda point: point.refused),
        concerns=await find_concerns(services),
        latest=await queries.worker_views(services, latest),
        server=queries.server_status(services),
    )


def _period(text: str) -> Period:
    return Period(text) if text in set(Period) else Period.HOUR
