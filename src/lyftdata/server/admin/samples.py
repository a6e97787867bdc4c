"""Records the Server's metrics once a minute, for plots over time."""

from collections.abc import Callable
from datetime import datetime, timedelta

from lyftdata.core.records import Sample
from lyftdata.server.clock import Clock
from lyftdata.server.metrics import Metrics
from lyftdata.store import Store
from lyftdata.store.tables import samples

_KEPT_FOR = timedelta(days=8)


class SampleLog:
    """Counts within the current minute, and stores each minute when it is over."""

    def __init__(self, *, store: Store, metrics: Metrics, online: Callable[[], int], clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._online = online
        self._clock = clock
        self._minute = _minute_of(clock())
        self._admitted_before = metrics.admitted
        self._refused_before = metrics.refusals

    def current(self) -> Sample:
        """Return the current minute so far."""
        return Sample(
            at=self._minute,
            online=self._online(),
            admitted=self._metrics.admitted - self._admitted_before,
            refused=self._metrics.refusals - self._refused_before,
        )

    async def flush(self) -> None:
        """Store the last minute once it is over, and delete samples older than eight days."""
        minute = _minute_of(self._clock())
        if minute == self._minute:
            return
        over = self.current()
        await self._store.write(lambda tx: samples.add_sample(tx, over, keep_since=minute - _KEPT_FOR))
        self._minute = minute
        self._admitted_before += over.admitted
        self._refused_before += over.refused


def _minute_of(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)
