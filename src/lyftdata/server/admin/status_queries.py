"""Read model of the Server itself, for operators."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import lyftdata
from lyftdata.core.records import Sample, ServerRecord
from lyftdata.server.admin.samples import SampleLog
from lyftdata.server.admin.schemas.status import History, HistoryPoint, OneServer, Period, ServerStatus
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store
from lyftdata.store.tables import samples

_STEPS = {
    Period.HOUR: (timedelta(hours=1), timedelta(minutes=1)),
    Period.DAY: (timedelta(days=1), timedelta(minutes=10)),
    Period.WEEK: (timedelta(days=7), timedelta(hours=1)),
}


class StatusQueries:
    """This Server, the Servers of the deployment, and the last hour, day or week."""

    def __init__(
        self,
        *,
        issuer: str,
        started_at: datetime,
        warnings: Sequence[str],
        directory: Directory,
        sessions: Sessions,
        enrollment: Enrollment,
        all_servers: Callable[[], Awaitable[Sequence[ServerRecord]]],
        sample_log: SampleLog,
        store: Store,
        clock: Clock,
    ) -> None:
        self._issuer = issuer
        self._started_at = started_at
        self._warnings = warnings
        self._directory = directory
        self._sessions = sessions
        self._enrollment = enrollment
        self._all_servers = all_servers
        self._sample_log = sample_log
        self._store = store
        self._clock = clock

    def status(self) -> ServerStatus:
        """Return version, issuer, counts and warnings."""
        return ServerStatus(
            version=lyftdata.__version__,
            issuer=self._issuer,
            started_at=self._started_at,
            enrollment_enabled=self._enrollment.is_enabled(),
            workers=self._directory.worker_count(),
            online=self._sessions.online_count(),
            warnings=[*self._warnings],
        )

    async def servers(self) -> list[OneServer]:
        """Return every Server that shares this state, by start time; only this one, unless the state is in PostgreSQL."""
        return [
            OneServer(
                id=server.id,
                host=server.host,
                address=server.address,
                version=server.version,
                started_at=server.started_at,
                last_heartbeat_at=server.beat_at,
                is_this=server.id == self._store.server_id,
            )
            for server in await self._all_servers()
        ]

    async def history(self, period: Period) -> History:
        """
        Return the history of the last hour (by minute), day (by ten minutes) or week (by hour).

        A point has the most Workers connected at once, and the sums of admissions and refusals at all Servers; of the current minute,
        only those at this Server. Steps in which no Server ran have no point.
        """
        length, step = _STEPS[period]
        now = self._clock()
        since = now - length
        step_s = int(step.total_seconds())
        kept = await self._store.read(lambda conn: samples.summed_samples(conn, since=since, step_s=step_s))
        points: dict[datetime, HistoryPoint] = {}
        for sample in [*kept, self._sample_log.current()]:
            _add(points, sample, step)
        return History(period=period, since=since, until=now, step_s=step_s, points=list(points.values()))


def _add(points: dict[datetime, HistoryPoint], sample: Sample, step: timedelta) -> None:
    at = sample.at - (sample.at - datetime.min.replace(tzinfo=sample.at.tzinfo)) % step
    point = points.setdefault(at, HistoryPoint(at=at, online=0, admitted=0, refused=0))
    point.online = max(point.online, sample.online)
    point.admitted += sample.admitted
    point.refused += sample.refused
