"""Finds the Workers of an incident, with the reasons for each: from entries, sessions and origins of tokens."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from lyftdata.core.incidents import Reason, SubjectKind
from lyftdata.core.networks import is_in, may_be_in
from lyftdata.core.records import TokenOriginRecord, WorkerRecord, WorkerSessionRecord
from lyftdata.server.admin.incident_subjects import FoundSubject
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session, key_of
from lyftdata.store import Store, StoreError
from lyftdata.store.tables import activity, token_origins, worker_sessions

_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_LOOKED_AT_ONCE = 1_000
_WRITTEN_WITHIN_S = 5.0


class Evidence(msgspec.Struct, frozen=True):
    """The Workers of an incident by ID, each with its reasons, and the origins of tokens that belong to it."""

    reasons: Mapping[str, Sequence[Reason]]
    origins: Mapping[str, Sequence[TokenOriginRecord]]


class _Found:
    """What has been found so far, each reason once."""

    def __init__(self) -> None:
        self._reasons: dict[str, dict[Reason, None]] = defaultdict(dict)
        self._origins: dict[str, list[TokenOriginRecord]] = defaultdict(list)

    def add(self, worker_id: str, reason: Reason) -> None:
        self._reasons[worker_id][reason] = None

    def add_origins(self, origins: Iterable[TokenOriginRecord], reason: Reason | None) -> None:
        for origin in origins:
            self._origins[origin.worker_id].append(origin)
            if reason is not None:
                self.add(origin.worker_id, reason)

    def evidence(self, is_worker: Callable[[str], bool]) -> Evidence:
        reasons = {w: list(found) for w, found in self._reasons.items() if is_worker(w)}
        return Evidence(reasons, {w: self._origins.get(w, []) for w in reasons})


class IncidentEvidence:
    """Reads what is recorded about Workers: entries and sessions from memory, the rest from the store."""

    def __init__(
        self,
        *,
        directory: Directory,
        sessions: Sessions,
        session_log: SessionLog,
        traces: ActivityLog,
        origins: TokenOrigins,
        store: Store,
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._session_log = session_log
        self._traces = traces
        self._origins = origins
        self._store = store

    async def collect(self, found: FoundSubject, *, since: datetime | None) -> Evidence:
        """Collect what belongs to an incident; `since` does not exclude Workers that are connected now."""
        await self._write_pending()
        result, start = _Found(), since or _EVER
        match found.subject.kind:
            case SubjectKind.API_KEY:
                await self._by_api_key(result, found, start)
            case SubjectKind.ENROLLMENT_KEY:
                await self._by_enrollment_key(result, found, start)
            case SubjectKind.WORKER:
                result.add(found.subject.value, Reason.IS_IT)
                await self._add_tokens(result, [found.subject.value], start)
            case SubjectKind.ADDRESS:
                await self._by_address(result, found, start)
            case SubjectKind.HOST:
                await self._by_host(result, found, start)
        return result.evidence(lambda worker_id: self._directory.find_worker(worker_id) is not None)

    async def _write_pending(self) -> None:
        """Write what is pending here; a database that is slow to write must not delay the report."""
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(_WRITTEN_WITHIN_S):
                await self._origins.flush_all()
                await self._session_log.flush()
                await self._traces.flush()

    async def _by_api_key(self, result: _Found, found: FoundSubject, start: datetime) -> None:
        credentials = {f"key.{public_id}" for public_id in found.public_ids}
        origins = await self._store.read(
            lambda conn: token_origins.list_by_credential(conn, credentials, since=start)
        )
        result.add_origins(origins, Reason.GOT_TOKENS_BY_IT)
        async for session in self._online():
            kind, value = key_of(session)
            if kind == "key" and value in found.public_ids:
                result.add(session.worker_id, Reason.CONNECTED_BY_IT)
        name = found.subject.value
        # From before origins were recorded: the name of the key in each Worker's last session.
        for worker_id in await self._store.read(
            lambda conn: activity.ids_by_api_key(conn, name, seen_since=start)
        ):
            result.add(worker_id, Reason.CONNECTED_BY_IT)

    async def _by_enrollment_key(self, result: _Found, found: FoundSubject, start: datetime) -> None:
        enrolled = [
            worker.id
            async for worker in self._entries()
            if worker.enrolled_with in found.fingerprints and worker.created_at >= start
        ]
        for worker_id in enrolled:
            result.add(worker_id, Reason.ENROLLED_WITH_IT)
        await self._add_tokens(result, enrolled, start)

    async def _by_address(self, result: _Found, found: FoundSubject, start: datetime) -> None:
        network = found.subject.network
        origins = await self._store.read(lambda conn: token_origins.list_since(conn, start))
        there = [origin for origin in origins if may_be_in(origin.network, network)]
        result.add_origins(there, Reason.GOT_TOKENS_FROM_THERE)
        await self._by_session(
            result,
            start,
            was_there=lambda session: is_in(session.address, network),
            is_there=lambda session: is_in(session.boot.address, network),
        )
        async for worker in self._entries():
            if worker.created_at >= start and is_in(worker.enrolled_from, network):
                result.add(worker.id, Reason.ENROLLED_FROM_THERE)

    async def _by_host(self, result: _Found, found: FoundSubject, start: datetime) -> None:
        name = found.subject.value.casefold()
        await self._by_session(
            result,
            start,
            was_there=lambda session: session.host.get("hostname", "").casefold() == name,
            is_there=lambda session: session.boot.host.get("hostname", "").casefold() == name,
        )
        await self._add_tokens(result, result.evidence(lambda _: True).reasons, start)

    async def _by_session(
        self,
        result: _Found,
        start: datetime,
        *,
        was_there: Callable[[WorkerSessionRecord], bool],
        is_there: Callable[[Session], bool],
    ) -> None:
        past = await self._store.read(
            lambda conn: {s.worker_id for s in worker_sessions.list_since(conn, start) if was_there(s)}
        )
        for worker_id in past:
            result.add(worker_id, Reason.CONNECTED_FROM_THERE)
        async for session in self._online():
            if is_there(session):
                result.add(session.worker_id, Reason.CONNECTED_FROM_THERE)

    async def _add_tokens(self, result: _Found, worker_ids: Iterable[str], start: datetime) -> None:
        """Add the tokens of Workers that belong to the incident for another reason."""
        ids = list(worker_ids)
        origins = await self._store.read(lambda conn: token_origins.list_origins(conn, ids))
        result.add_origins((origin for origin in origins if origin.last_at >= start), None)

    async def _online(self) -> AsyncIterator[Session]:
        for number, worker_id in enumerate(self._sessions.online_ids()):
            if number % _LOOKED_AT_ONCE == 0:
                # Workers' requests are answered in between.
                await asyncio.sleep(0)
            session = self._sessions.find(worker_id)
            if session is not None:
                yield session

    async def _entries(self) -> AsyncIterator[WorkerRecord]:
        for number, worker in enumerate(list(self._directory.workers())):
            if number % _LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            yield worker
