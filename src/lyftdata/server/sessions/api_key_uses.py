"""
Records when each API key was last used, and by which Worker: collected in memory, written at most once a minute.

The first use, or the first in a minute, is written within a second. For a key in constant use, the displayed time is exact at the
Server that its Workers use, and up to a minute old at other Servers and after a crash.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from lyftdata.server.clock import Clock
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store
from lyftdata.store.tables import api_keys

_WRITE_AGAIN_AFTER = timedelta(minutes=1)

Use = tuple[datetime, str]
"""When a key was used, and the Worker's ID."""


class ApiKeyUses:
    """
    The last use of each key, by public ID, until it is written.

    Args:
        store: Where keys are kept.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._unwritten: dict[str, Use] = {}
        self._written: set[str] = set()
        self._starts_at = self._ends_at = datetime.min.replace(tzinfo=UTC)

    def note(self, public_id: str, worker_id: str, *, at: datetime) -> None:
        """Record a use: on the path of every token request, so nothing more than a dictionary entry."""
        self._unwritten[public_id] = (at, worker_id)

    def pending(self, public_id: str) -> Use | None:
        """Return the last use if it is not yet written."""
        return self._unwritten.get(public_id)

    async def flush(self) -> None:
        """Write the uses of keys that were not written in the last minute; what could not be written stays pending."""
        now = self._clock()
        # The clock may have been set back.
        if not self._starts_at <= now < self._ends_at:
            self._starts_at, self._ends_at = now, now + _WRITE_AGAIN_AFTER
            self._written = set()
        written = self._written
        await self._write({key: use for key, use in self._unwritten.items() if key not in written})

    async def flush_all(self) -> None:
        """Write everything."""
        await self._write(dict(self._unwritten))

    async def _write(self, uses: Mapping[str, Use]) -> None:
        for part in in_parts(uses.items()):
            await self._store.write(partial(api_keys.touch_last_used, uses=dict(part)))
            for key, use in part:
                self._written.add(key)
                if self._unwritten.get(key) == use:
                    del self._unwritten[key]
