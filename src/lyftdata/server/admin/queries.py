"""
What operators read, by whatever way they come: the admin API and the pages answer from here.

Lists of Workers and keys come from memory (`directory`): ten thousand entries are filtered in milliseconds, and
what is shown as connected is connected now.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

import msgspec

import lyftdata
from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import ApiKeyRecord, RefusalAttempt, Sample, State, Strategy, WorkerRecord
from lyftdata.server.admin.api_keys import newest_generation
from lyftdata.server.admin.schemas.api_keys import ApiKey
from lyftdata.server.admin.schemas.audit import AuditPage, AuditReport
from lyftdata.server.admin.schemas.refusals import Refusal, RefusalGroup
from lyftdata.server.admin.schemas.resources import Resource
from lyftdata.server.admin.schemas.status import History, HistoryPoint, OneServer, Period, ServerStatus
from lyftdata.server.admin.schemas.workers import Worker, WorkerPage, WorkerSession
from lyftdata.server.admin.views import (
    api_key_view,
    audit_view,
    refusal_group_view,
    refusal_view,
    resource_view,
    state_of,
    worker_session_view,
    worker_view,
)
from lyftdata.server.runtime.services import Services
from lyftdata.store import audit_log
from lyftdata.store.tables import activity, api_keys, refusals, samples, workers

_SHOWN_AT_ONCE = 50


class WorkerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which Workers are wanted; what is None or empty does not narrow.

    `q` is part of a name or an ID, upper or lower case; `label` is `key` or `key=value`; `api_key` the name of the
    key last used; `enrolled_with` the fingerprint of an enrollment key. A Worker has one state: a disabled one is not
    among those that are offline.
    """

    q: str | None = None
    state: State | None = None
    strategy: Strategy | None = None
    label: str | None = None
    api_key: str | None = None
    enrolled_with: str | None = None


async def find_workers(services: Services, wanted: WorkerFilter) -> list[WorkerRecord]:
    """Return the Workers that a filter leaves, in no order."""
    found: Iterable[WorkerRecord] = list(services.directory.workers())
    if wanted.strategy is not None:
        found = (w for w in found if w.strategy is wanted.strategy)
    if wanted.enrolled_with:
        found = (w for w in found if w.enrolled_with == wanted.enrolled_with)
    if wanted.label:
        key, separator, value = wanted.label.partition("=")
        found = (w for w in found if (w.labels.get(key) == value if separator else key in w.labels))
    if wanted.q:
        part = wanted.q.casefold()
        found = (w for w in found if part in w.id.casefold() or part in w.name.casefold())
    if wanted.state is not None:
        found = (w for w in found if state_of(services, w) is wanted.state)
    if wanted.api_key:
        users = await _users_of_key(services, wanted.api_key)
        found = (w for w in found if w.id in users)
    return list(found)


async def _users_of_key(services: Services, name: str) -> set[str]:
    """Return the IDs of the Workers that used this key last; the connected ones from their sessions."""
    await services.traces.flush()
    users = await services.store.read(lambda conn: activity.ids_by_api_key(conn, name))
    for record in services.directory.api_keys():
        if record.name == name:
            users |= set(services.sessions.online_with_key(record.public_id))
    return users


async def worker_page(
    services: Services, wanted: WorkerFilter, *, limit: int, after: str | None
) -> WorkerPage:
    """Return a page of Workers in order of ID; `after` is `next` of the page before."""
    found = await find_workers(services, wanted)
    following = sorted((w for w in found if after is None or w.id > after), key=lambda w: w.id)
    items = following[:limit]
    return WorkerPage(
        items=await worker_views(services, items),
        next=items[-1].id if len(following) > limit else None,
        total=len(found),
    )


async def worker_views(services: Services, records: Sequence[WorkerRecord]) -> list[Worker]:
    """Show these Workers, with what they left behind."""
    ids = [record.id for record in records]
    stored = await services.store.read(lambda conn: activity.find_traces(conn, ids))
    shown: list[Worker] = []
    for begin in range(0, len(records), _SHOWN_AT_ONCE):
        shown += [worker_view(services, record, stored) for record in records[begin : begin + _SHOWN_AT_ONCE]]
        # Workers' requests are answered in between.
        await asyncio.sleep(0)
    return shown


async def get_worker(services: Services, worker_id: str) -> Worker:
    """Return one Worker; raises NotFoundError."""
    record = await services.store.read(lambda conn: workers.get_worker(conn, worker_id))
    return (await worker_views(services, [record]))[0]


async def worker_sessions(services: Services, worker_id: str) -> list[WorkerSession]:
    """Return the last sessions of a Worker, the latest first; raises NotFoundError."""
    await services.store.read(lambda conn: workers.get_worker(conn, worker_id))
    kept = await services.session_log.sessions_of(worker_id)
    current = services.sessions.find(worker_id)
    since = None if current is None else current.since
    return [worker_session_view(r, is_open=r.ended_at is None and r.started_at == since) for r in kept]


async def last_let_in(services: Services, worker_ids: Collection[str]) -> dict[str, datetime]:
    """
    Return when these Workers were last let in, as far as is known; by ID.

    A connected one when it connected: that it gets tokens all the time says nothing of a second host that is refused.
    """
    started = await services.session_log.last_starts(worker_ids)
    found: dict[str, datetime] = {}
    for worker_id in worker_ids:
        session = services.sessions.find(worker_id)
        since = services.traces.admitted_at(worker_id) if session is None else session.since
        times = [at for at in (started.get(worker_id), since) if at is not None]
        if times:
            found[worker_id] = max(times)
    return found


async def list_api_keys(services: Services) -> list[ApiKey]:
    """Return every key, by name, without the keys themselves: only digests are kept."""
    groups = find_api_keys(services)
    found: list[ApiKey] = []
    for start in range(0, len(groups), _KEYS_AT_ONCE):
        # A fleet with a key for each Worker has ten thousand: others are served in between.
        found += await view_api_keys(services, groups[start : start + _KEYS_AT_ONCE])
    return found


def find_api_keys(
    services: Services, wanted: Callable[[ApiKeyRecord], bool] = lambda _record: True
) -> list[list[ApiKeyRecord]]:
    """
    Return keys by name, each with all its generations, of which at least one is wanted.

    Much cheaper than showing them: what is left is shown by `view_api_keys`.
    """
    names = {record.name for record in services.directory.api_keys() if wanted(record)}
    records = sorted(
        (record for record in services.directory.api_keys() if record.name in names),
        key=lambda record: record.name,
    )
    return [list(group) for _, group in groupby(records, key=lambda record: record.name)]


async def get_api_key(services: Services, name: str) -> ApiKey:
    """Return one key, without the key itself; raises NotFoundError."""
    generations = await services.store.read(lambda conn: api_keys.find_by_name(conn, name))
    newest_generation(generations, name)
    return (await view_api_keys(services, [generations]))[0]


async def view_api_keys(services: Services, groups: Sequence[Sequence[ApiKeyRecord]]) -> list[ApiKey]:
    """Show these keys."""
    ids = [record.public_id for group in groups for record in group]
    used = await services.store.read(lambda conn: api_keys.last_used(conn, ids))
    online = services.sessions.online_by_key()
    return [api_key_view(services, list(group), used, online) for group in groups]


def list_resources(services: Services) -> list[Resource]:
    """Return every resource, by name."""
    found = sorted(services.directory.resources(), key=lambda record: record.name)
    return [resource_view(services, record) for record in found]


def get_resource(services: Services, name: str) -> Resource:
    """Return one resource; raises NotFoundError."""
    record = next((r for r in services.directory.resources() if r.name == name), None)
    if record is None:
        raise NotFoundError("resource", name)
    return resource_view(services, record)


async def list_refusals(
    services: Services,
    *,
    limit: int,
    code: str | None = None,
    q: str | None = None,
    claimed_worker: str | None = None,
) -> list[RefusalGroup]:
    """
    Return refused attempts grouped by cause, claimed Worker and address, the latest first.

    What is not written yet is added here: under a flood, a reader that waited for the writing would wait for long.
    """
    kept = await services.store.read(
        lambda conn: refusals.list_groups(conn, limit=limit, code=code, q=q, claimed_worker=claimed_worker)
    )
    unwritten = [
        attempt
        for attempt in services.refusals.unwritten()
        if _fits(attempt, code=code, q=q, claimed_worker=claimed_worker)
    ]
    groups = refusals.group_attempts(unwritten, onto=kept)
    latest = sorted(groups, key=lambda group: group.last_at, reverse=True)[:limit]
    return [refusal_group_view(group) for group in latest]


def _fits(attempt: RefusalAttempt, *, code: str | None, q: str | None, claimed_worker: str | None) -> bool:
    part = (q or "").casefold()
    return (
        (not code or attempt.code == code)
        and (claimed_worker is None or attempt.claimed_worker == claimed_worker)
        and (part in attempt.claimed_worker.casefold() or part in attempt.address)
    )


async def get_refusal(services: Services, reference: str) -> Refusal:
    """Return one refused attempt with the whole reason, by the reference that the Worker logged; raises NotFoundError."""
    wanted = reference.strip().upper()
    attempt = services.refusals.find_unwritten(wanted)
    if attempt is None:
        attempt = await services.store.read(lambda conn: refusals.find_reference(conn, wanted))
    if attempt is None:
        raise NotFoundError("refusal", reference)
    return refusal_view(attempt)


async def list_audit(
    services: Services,
    *,
    limit: int,
    before: int | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> AuditPage:
    """Return decisions about trust, the latest first."""
    events = await services.store.read(
        lambda conn: audit_log.list_events(conn, limit=limit, before=before, action=action, subject=subject)
    )
    following = events[-1].number if len(events) == limit else None
    return AuditPage(items=[audit_view(event) for event in events], next=following)


async def verify_audit(services: Services) -> AuditReport:
    """Check every link of the chain: no row was changed, removed, inserted or moved."""
    report = await services.store.verify_audit()
    return AuditReport(
        ok=report.ok,
        checked=report.checked,
        head_number=report.head_number,
        head_hash=report.head_hash.hex(),
        first_bad=report.first_bad,
        problem=report.problem,
    )


async def list_servers(services: Services) -> list[OneServer]:
    """Return every Server that shares this state, by when it started; this one alone, unless the state is in PostgreSQL."""
    return [
        OneServer(
            id=server.id,
            host=server.host,
            address=server.address,
            version=server.version,
            started_at=server.started_at,
            heard_of_at=server.beat_at,
            is_this=server.id == services.store.server_id,
        )
        for server in await services.cluster.all_servers()
    ]


def server_status(services: Services) -> ServerStatus:
    """Return version, issuer, counts and warnings."""
    return ServerStatus(
        version=lyftdata.__version__,
        issuer=services.issuer,
        started_at=services.started_at,
        enrollment_enabled=bool(services.enrollment.keys),
        workers=services.directory.worker_count(),
        online=services.sessions.online_count(),
        warnings=services.warnings,
    )


_KEYS_AT_ONCE = 250
_STEPS = {
    Period.HOUR: (timedelta(hours=1), timedelta(minutes=1)),
    Period.DAY: (timedelta(days=1), timedelta(minutes=10)),
    Period.WEEK: (timedelta(days=7), timedelta(hours=1)),
}


async def history(services: Services, period: Period) -> History:
    """
    Return what was over the last hour (by minute), day (by ten minutes) or week (by hour).

    A point holds the most Workers connected at once, and the sums of admissions and refusals. Times at which the
    Server did not run have no point.
    """
    length, step = _STEPS[period]
    now = services.clock()
    since = now - length
    step_s = int(step.total_seconds())
    kept = await services.store.read(lambda conn: samples.summed_samples(conn, since=since, step_s=step_s))
    points: dict[datetime, HistoryPoint] = {}
    for sample in [*kept, services.samples.current()]:
        _add(points, sample, step)
    return History(period=period, since=since, until=now, step_s=step_s, points=list(points.values()))


def _add(points: dict[datetime, HistoryPoint], sample: Sample, step: timedelta) -> None:
    at = sample.at - (sample.at - datetime.min.replace(tzinfo=sample.at.tzinfo)) % step
    point = points.setdefault(at, HistoryPoint(at=at, online=0, admitted=0, refused=0))
    point.online = max(point.online, sample.online)
    point.admitted += sample.admitted
    point.refused += sample.refused
