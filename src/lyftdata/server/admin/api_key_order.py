"""Finds the values by which a list of API keys is sorted."""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from lyftdata.core.records import ApiKeyRecord
from lyftdata.core.scopes import Scope
from lyftdata.server.admin.views import key_status
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store
from lyftdata.store.tables import api_keys

_STATUS_ORDER = ("live", "expired", "revoked")


class KeyColumn(StrEnum):
    """A column by which a list of API keys can be sorted."""

    NAME = "name"
    STATUS = "status"
    FOR = "for"
    CONNECTED = "connected"
    EXPIRES = "expires"
    USED = "used"


class ApiKeyOrder:
    """
    Finds the sort keys of API keys; all generations of a key are sorted as one.

    The database is read once for all keys; only the few keys that a page shows are read in full, by `ApiKeyQueries.show`.
    """

    def __init__(
        self, *, directory: Directory, sessions: Sessions, traces: ActivityLog, store: Store, clock: Clock
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._traces = traces
        self._store = store
        self._clock = clock

    async def values_of(self, by: KeyColumn, *, scope: Scope) -> Callable[[Sequence[ApiKeyRecord]], Any]:
        """Return the sort key for a column; it returns None for a key without a value. Only Workers within the scope are counted."""
        if by is KeyColumn.CONNECTED:
            return self._number_connected(scope)
        if by is KeyColumn.USED:
            return await self._last_use()
        now = self._clock()
        return lambda group: _value_of(max(group, key=lambda record: record.generation), by, now)

    def _number_connected(self, scope: Scope) -> Callable[[Sequence[ApiKeyRecord]], int]:
        online, find = self._sessions.online_by_key(), self._directory.find_worker
        return lambda group: sum(
            scope.covers_worker(find(worker_id))
            for record in group
            for worker_id in online.get(record.public_id, ())
        )

    async def _last_use(self) -> Callable[[Sequence[ApiKeyRecord]], int | None]:
        """Return a sort key by last use: the rank of each key, since the times themselves are not needed."""
        await self._traces.flush()
        places = {key: place for place, key in enumerate(await self._store.read(api_keys.ids_by_last_use))}
        return lambda group: max(
            (places[record.public_id] for record in group if record.public_id in places), default=None
        )


def _value_of(newest: ApiKeyRecord, by: KeyColumn, now: datetime) -> Any:
    match by:
        case KeyColumn.STATUS:
            return _STATUS_ORDER.index(key_status(newest, now))
        case KeyColumn.FOR:
            # "For all Workers" sorts above any number of Workers.
            return newest.for_all_workers, len(newest.worker_ids), newest.worker_ids
        case KeyColumn.EXPIRES:
            return newest.expires_at
        case _:
            return newest.name
