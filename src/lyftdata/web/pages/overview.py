"""The overview page: whether the fleet is complete, alerts, credentials, what happened, and plots over time."""

import functools
from collections import Counter
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from lyftdata.core.fleet_verdict import Level
from lyftdata.core.origins import is_loopback
from lyftdata.core.records import ApiKeyRecord, State, WorkerRecord
from lyftdata.core.scopes import UNLIMITED
from lyftdata.server.admin.fleet_queries import FleetState, fleet_view
from lyftdata.server.admin.schemas.api_keys import ApiKey
from lyftdata.server.admin.schemas.enrollment import EnrollmentStatus
from lyftdata.server.admin.schemas.fleet import Fleet
from lyftdata.server.admin.schemas.status import Alert, AlertKind, History, OneServer, Period
from lyftdata.server.runtime.services import Services
from lyftdata.web.charts import Chart, Moment, bar_chart, line_chart
from lyftdata.web.fleet_bar import Segment, fleet_segments
from lyftdata.web.happenings import MARKED_ACTIONS, Happening, find_happenings, marks_of
from lyftdata.web.page import Page
from lyftdata.web.shared import SharedValues

_HAPPENED = 8
# Some events are merged into one line.
_EVENTS_READ = 60
_MAX_KEYS = 3
# These are shown in the card of credentials, in more detail.
_SHOWN_AS_CREDENTIALS = {AlertKind.KEY_EXPIRES, AlertKind.KEY_ROTATION}


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of the fleet: the same for every operator."""

    total: int
    fleet: Fleet
    segments: Sequence[Segment]
    archived: int
    history: History
    online: int
    expected: int | None
    moments: Sequence[Moment]
    concerns: Sequence[Alert]
    snoozed: Sequence[Alert]
    keys: Sequence[ApiKey]
    enrollment: EnrollmentStatus
    happened: Sequence[Happening]
    servers: Sequence[OneServer]
    is_empty: bool


async def show(page: Page) -> Response:
    """Show the state of the fleet; for a Server without Workers, how to begin."""
    if page.actor.scope.is_limited:
        # It covers all Workers. Operators with a scope start with the list of those within it.
        return page.redirect("/workers")
    page.check_parameters("period")
    services, period = page.services, Period(page.choice("period", list(Period)) or Period.HOUR)
    shared: SharedValues = page.request.app.state.shared
    numbers = await shared.get(("overview", period), functools.partial(_numbers, services, period))
    return page.render(
        "overview.html",
        numbers=numbers,
        connected=_connected_chart(page, numbers),
        refused=bar_chart("Refusals", numbers.history, lambda point: point.refused, zone=page.zone),
        periods=list(Period),
        period=period,
        server=services.status_queries.status(),
        is_local=is_loopback(services.issuer),
    )


def _connected_chart(page: Page, numbers: Numbers) -> Chart:
    return line_chart(
        "Workers connected",
        numbers.history,
        lambda point: point.online,
        now=numbers.online,
        expected=numbers.expected,
        moments=numbers.moments,
        zone=page.zone,
    )


async def _numbers(services: Services, period: Period) -> Numbers:
    state = await services.fleet_queries.state()
    records = list(services.directory.workers())
    counts = Counter(services.worker_queries.state_of(record) for record in records)
    history = await services.status_queries.history(period)
    servers = await services.status_queries.servers()
    marked = await services.audit_queries.list_actions(MARKED_ACTIONS, since=history.since)
    moments = [
        *marks_of(marked),
        *(Moment(each.started_at, "Server started") for each in servers if each.started_at > history.since),
    ]
    expected = state.verdict.expected if state.verdict.level is not Level.NONE else None
    concerns = await services.alerts.find()
    shown = [concern for concern in concerns if concern.kind not in _SHOWN_AS_CREDENTIALS]
    return Numbers(
        total=services.directory.worker_count(),
        fleet=fleet_view(state),
        segments=fleet_segments(counts, state.verdict),
        archived=counts[State.ARCHIVED],
        history=history,
        online=services.sessions.online_count(),
        expected=expected,
        moments=moments,
        concerns=[concern for concern in shown if concern.snoozed is None],
        snoozed=[concern for concern in shown if concern.snoozed is not None],
        keys=await _pressing_keys(services, concerns),
        enrollment=await services.enrollment_queries.show(),
        happened=await _happened(services, state),
        servers=servers,
        is_empty=not records,
    )


async def _pressing_keys(services: Services, concerns: Sequence[Alert]) -> list[ApiKey]:
    """Return the API keys that are being rotated, and those that expire soon."""
    now = services.clock()
    ending = {concern.subject for concern in concerns if concern.kind is AlertKind.KEY_EXPIRES}

    def is_pressing(record: ApiKeyRecord) -> bool:
        is_rotated = record.rotated_at is not None and record.revoked_at is None
        return record.name in ending or (is_rotated and now < (record.expires_at or now))

    groups = services.api_key_queries.find(is_pressing, scope=UNLIMITED)
    keys = await services.api_key_queries.show(groups[:_MAX_KEYS], scope=UNLIMITED)
    return sorted(keys, key=lambda key: (not key.previous, key.name))


async def _happened(services: Services, state: FleetState) -> list[Happening]:
    page = await services.audit_queries.list_page(limit=_EVENTS_READ)
    return find_happenings(
        page.items, state, find_worker=functools.partial(_find_worker, services), limit=_HAPPENED
    )


def _find_worker(services: Services, worker_id: str) -> WorkerRecord | None:
    return services.directory.find_worker(worker_id)
