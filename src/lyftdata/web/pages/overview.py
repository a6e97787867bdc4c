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
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.server.admin.schemas.enrollment import EnrollmentStatus
from lyftdata.server.admin.schemas.fleet import Fleet
from lyftdata.server.admin.schemas.status import Alert, AlertKind, History, OneServer, Period
from lyftdata.server.runtime.services import Services
from lyftdata.web.alert_list import AlertList, arrange_alerts
from lyftdata.web.charts import Chart, Moment, bar_chart, line_chart
from lyftdata.web.credential_list import (
    CREDENTIAL_KINDS,
    MAX_KEYS,
    CredentialList,
    arrange_credentials,
    most_pressing,
)
from lyftdata.web.fleet_bar import Segment, fleet_segments
from lyftdata.web.happenings import MARKED_ACTIONS, Happening, find_happenings, group_before, marks_of
from lyftdata.web.page import Page
from lyftdata.web.shared import SharedValues

_MAX_HAPPENED = 10
# Lines for credentials and for what happened: together about as high as the alerts and the plot next to them.
_LINES, _LINES_OF_A_CREDENTIAL = 12, 2
# Some events are merged into one line. Where a mass change is longer than what is read at once, its other events are skipped.
_EVENTS_READ, _MOST_READS = 60, 5


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
    alerts: AlertList
    snoozed: Sequence[Alert]
    credentials: CredentialList
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
    alerts = await services.alerts.find()
    credentials = await _credentials(services, alerts)
    listed = [alert for alert in alerts if alert.kind not in CREDENTIAL_KINDS]
    return Numbers(
        total=services.directory.worker_count(),
        fleet=fleet_view(state),
        segments=fleet_segments(counts, state.verdict),
        archived=counts[State.ARCHIVED],
        history=history,
        online=services.sessions.online_count(),
        expected=expected,
        moments=moments,
        alerts=arrange_alerts([alert for alert in listed if alert.snoozed is None]),
        snoozed=[alert for alert in listed if alert.snoozed is not None],
        credentials=credentials,
        enrollment=await services.enrollment_queries.show(),
        happened=await _happened(services, state, at_most=_happened_at_most(credentials)),
        servers=servers,
        is_empty=not records,
    )


async def _credentials(services: Services, alerts: Sequence[Alert]) -> CredentialList:
    """Return the API keys that are being rotated, and those that expire soon."""
    now = services.clock()
    ending = {alert.subject for alert in alerts if alert.kind is AlertKind.KEY_EXPIRES}

    def is_pressing(record: ApiKeyRecord) -> bool:
        is_rotated = record.rotated_at is not None and record.revoked_at is None
        return record.name in ending or (is_rotated and now < (record.expires_at or now))

    groups = most_pressing(services.api_key_queries.find(is_pressing, scope=UNLIMITED), alerts, now=now)
    keys = await services.api_key_queries.show(groups[:MAX_KEYS], scope=UNLIMITED)
    return arrange_credentials(keys, alerts, more=len(groups) - len(keys))


def _happened_at_most(credentials: CredentialList) -> int:
    folds = sum(map(bool, (credentials.folded, credentials.snoozed, credentials.more)))
    left = _LINES - _LINES_OF_A_CREDENTIAL * len(credentials.shown) - folds
    return min(_MAX_HAPPENED, left)


async def _happened(services: Services, state: FleetState, *, at_most: int) -> list[Happening]:
    find_worker = functools.partial(_find_worker, services)
    events: list[AuditEvent] = []
    found: list[Happening] = []
    before = None
    for _ in range(_MOST_READS):
        page = await services.audit_queries.list_page(limit=_EVENTS_READ, before=before)
        events += page.items
        found = find_happenings(events, state, find_worker=find_worker, limit=at_most)
        if page.next is None or len(found) == at_most:
            break
        # Where this is amid a mass change, go on with the event that began it: a thousand Workers are one line, and hide no other.
        group = group_before(page.items)
        before = page.next if group is None else group + 1
    return found


def _find_worker(services: Services, worker_id: str) -> WorkerRecord | None:
    return services.directory.find_worker(worker_id)
