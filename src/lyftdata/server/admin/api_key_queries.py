"""Read model of API keys, for operators."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby

import msgspec

from lyftdata.core.errors import NotFoundError
from lyftdata.core.key_generations import MAX_GRACE, newest_generation, seconds_until
from lyftdata.core.records import ApiKeyRecord
from lyftdata.core.scopes import Scope, covers_api_key
from lyftdata.server.admin.schemas.api_keys import ApiKey, LaggingWorker, PreviousKey
from lyftdata.server.admin.views import key_status
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store
from lyftdata.store.tables import api_keys

_KEYS_AT_ONCE = 250


class _Uses(msgspec.Struct, frozen=True):
    """Which Workers use keys, by public id."""

    last: Mapping[str, tuple[datetime, str]]
    by_worker: Mapping[str, Mapping[str, datetime]]
    """When each Worker last used a generation; only for keys that are being rotated."""
    online: Mapping[str, list[str]]


class ApiKeyQueries:
    """API keys by name, each with all its generations; never the keys themselves."""

    def __init__(
        self,
        *,
        directory: Directory,
        sessions: Sessions,
        traces: ActivityLog,
        origins: TokenOrigins,
        store: Store,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._traces = traces
        self._origins = origins
        self._store = store
        self._clock = clock

    async def list_all(self, *, scope: Scope) -> list[ApiKey]:
        """Return every key within a scope, by name; without the keys themselves, since only digests are stored."""
        groups = self.find(scope=scope)
        found: list[ApiKey] = []
        for start in range(0, len(groups), _KEYS_AT_ONCE):
            # A fleet with a key for each Worker has ten thousand: yield to other requests in between.
            found += await self.show(groups[start : start + _KEYS_AT_ONCE], scope=scope)
        return found

    def find(
        self, wanted: Callable[[ApiKeyRecord], bool] = lambda _record: True, *, scope: Scope
    ) -> list[list[ApiKeyRecord]]:
        """
        Return keys within a scope by name, each with all its generations, if at least one generation matches.

        Much cheaper than building their views; pass those that remain to `show`.
        """
        names = {record.name for record in self._directory.api_keys() if wanted(record)}
        records = sorted(
            (record for record in self._directory.api_keys() if record.name in names),
            key=lambda record: record.name,
        )
        groups = (list(group) for _, group in groupby(records, key=lambda record: record.name))
        return [group for group in groups if covers_api_key(scope, group, self._directory.find_worker)]

    async def get(self, name: str, *, scope: Scope) -> ApiKey:
        """Return one key, without the key itself; raises NotFoundError, also for one outside the scope."""
        generations = await self._store.read(lambda conn: api_keys.find_by_name(conn, name))
        # From memory, so that the response time does not distinguish a key outside the scope from a missing one.
        if not covers_api_key(scope, generations, self._directory.find_worker):
            raise NotFoundError("api_key", name)
        newest_generation(generations, kind="api_key", name=name)
        return (await self.show([generations], scope=scope))[0]

    async def show(self, groups: Sequence[Sequence[ApiKeyRecord]], *, scope: Scope) -> list[ApiKey]:
        """Build the views of keys within a scope, with the Workers in that scope that use them."""
        ids = [record.public_id for group in groups for record in group]
        rotating = [r.public_id for group in groups if self._is_rotating(group) for r in group]
        last = await self._store.read(lambda conn: api_keys.last_used(conn, ids))
        uses = _Uses(last, await self._uses_by_worker(rotating), self._sessions.online_by_key())
        return [self._view(list(group), uses, scope) for group in groups]

    def _is_rotating(self, generations: Sequence[ApiKeyRecord]) -> bool:
        newest = max(generations, key=lambda record: record.generation)
        return any(key_status(r, self._clock()) == "live" for r in generations if r is not newest)

    async def _uses_by_worker(self, public_ids: Sequence[str]) -> Mapping[str, Mapping[str, datetime]]:
        if not public_ids:
            return {}
        # After a rotation, no older generation works for longer than this.
        since = self._clock() - MAX_GRACE
        uses = await self._origins.last_uses([f"key.{public_id}" for public_id in public_ids], since=since)
        return {credential.removeprefix("key."): workers for credential, workers in uses.items()}

    def _view(self, generations: list[ApiKeyRecord], uses: _Uses, scope: Scope) -> ApiKey:
        """Build the view of a key from its newest generation; older ones that still work are `previous`."""
        now = self._clock()
        newest, *older = sorted(generations, key=lambda record: record.generation, reverse=True)
        first = older[-1] if older else newest
        ids = [record.public_id for record in generations]
        # Another Server may have recorded a later use than the one pending here.
        known = [use for find in (self._traces.key_pending, uses.last.get) for use in map(find, ids) if use]
        used_at, used_by = max(known, default=(None, None))
        return ApiKey(
            name=newest.name,
            public_id=newest.public_id,
            generation=newest.generation,
            for_all_workers=newest.for_all_workers,
            worker_ids=list(newest.worker_ids),
            created_at=first.created_at,
            created_by=first.created_by,
            rotated_at=newest.created_at if older else None,
            rotated_by=newest.created_by if older else None,
            expires_at=newest.expires_at,
            revoked_at=newest.revoked_at,
            status=key_status(newest, now),
            last_used_at=used_at,
            # The Worker that used it may be deleted, and may have been outside the scope.
            last_used_by=used_by if used_by is None or self._is_in(scope, used_by) else None,
            previous=[
                self._show_previous(record, generations, uses, scope)
                for record in older
                if key_status(record, now) == "live"
            ],
            used_by=sorted(
                w
                for record in generations
                for w in uses.online.get(record.public_id, ())
                if self._is_in(scope, w)
            ),
        )

    def _show_previous(
        self, record: ApiKeyRecord, generations: Sequence[ApiKeyRecord], uses: _Uses, scope: Scope
    ) -> PreviousKey:
        """Build the view of an older generation that still works, with the Workers that still use it."""
        online = set(uses.online.get(record.public_id, ()))
        used = uses.by_worker.get(record.public_id, {})
        others = [uses.by_worker.get(r.public_id, {}) for r in generations if r is not record]
        used_last = {w for w, at in used.items() if all(w not in other or other[w] < at for other in others)}
        return PreviousKey(
            public_id=record.public_id,
            generation=record.generation,
            expires_at=record.expires_at,
            ends_in_s=seconds_until(record.expires_at, now=self._clock()),
            workers=[
                LaggingWorker(id=worker_id, online=worker_id in online, last_used_at=used.get(worker_id))
                for worker_id in sorted(online | used_last)
                if self._is_in(scope, worker_id)
            ],
        )

    def _is_in(self, scope: Scope, worker_id: str) -> bool:
        return scope.covers_worker(self._directory.find_worker(worker_id))
