"""
Records when each API key was last used, and by which Worker: collected in memory, written at most once a minute.

A key that is not in use yet, or not in this minute, is written within a second. What is listed of one that is in use all the
time is right at the Server that its Workers ask, and up to a minute old at others and after a crash.
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
    The last uses, by a key's public ID, until they are written.

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
        """Note a use: on the path of each token, and so no more than an entry in a dictionary."""
        self._unwritten[public_id] = (at, worker_id)

    def pending(self, public_id: str) -> Use | None:
        """Return the last use if it is not written yet."""
        return self._unwritten.get(public_id)

    async def flush(self) -> None:
        """Write the uses of keys of which none was written in this minute; what could not be written stays pending."""
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
