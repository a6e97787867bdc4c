"""Read model of the networks from which Workers' tokens were requested."""

from datetime import datetime, timedelta

from lyftdata.core.epochs import changed_at
from lyftdata.core.records import ApiKeyRecord, TokenOriginRecord, WorkerRecord
from lyftdata.core.scopes import Scope
from lyftdata.core.standing import entry_problem, key_problem
from lyftdata.server.admin.schemas.workers import TokenOrigin
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import token_origins, workers

_MAX_ALARMS = 200


class TokenOriginQueries:
    """The origins of tokens: of one Worker, and those that need attention."""

    def __init__(self, *, origins: TokenOrigins, directory: Directory, store: Store, clock: Clock) -> None:
        self._origins = origins
        self._directory = directory
        self._store = store
        self._clock = clock

    async def origins_of(self, worker_id: str, *, scope: Scope) -> list[TokenOrigin]:
        """Return the last origins of a Worker's tokens, the latest first; raises NotFoundError."""
        await self._store.read(lambda conn: workers.get_worker_in(conn, worker_id, scope))
        return [self.view(record) for record in await self._origins.origins_of([worker_id])]

    async def from_elsewhere(self, *, within: timedelta) -> list[tuple[WorkerRecord, TokenOriginRecord]]:
        """
        Return tokens recently requested from a network other than that of the Worker's session, one per Worker.

        Tokens whose credential was since replaced or revoked, or whose Worker was since disabled or enabled, are left out.
        """
        await self._origins.flush()
        since = self._clock() - within
        found = await self._store.read(
            lambda conn: token_origins.list_elsewhere(conn, since=since, limit=_MAX_ALARMS)
        )
        latest: dict[str, tuple[WorkerRecord, TokenOriginRecord]] = {}
        for origin in found:
            worker = self._directory.find_worker(origin.worker_id)
            if worker is not None and self._is_unresolved(worker, origin):
                latest.setdefault(worker.id, (worker, origin))
        return list(latest.values())

    def view(self, record: TokenOriginRecord) -> TokenOrigin:
        """Build the view of an origin, with the names of its API key and its resource."""
        kind, _, value = record.credential.partition(".")
        key = self._key(record)
        resource = self._directory.find_resource(audience=record.audience)
        return TokenOrigin(
            network=record.network,
            address=record.address,
            credential_kind="api_key" if kind == "key" else "identity_key",
            credential=value if kind == "jkt" else None if key is None else key.name,
            audience=record.audience,
            resource=None if resource is None else resource.name,
            first_at=record.first_at,
            last_at=record.last_at,
            elsewhere_at=record.elsewhere_at,
            session_address=record.session_address,
        )

    def _is_unresolved(self, worker: WorkerRecord, origin: TokenOriginRecord) -> bool:
        if entry_problem(worker) is not None or _is_before(origin, changed_at(worker)):
            return False
        kind, _, value = origin.credential.partition(".")
        if kind == "jkt":
            return value == worker.thumbprint
        return key_problem(self._key(origin), worker_id=worker.id, now=self._clock()) is None

    def _key(self, record: TokenOriginRecord) -> ApiKeyRecord | None:
        kind, _, value = record.credential.partition(".")
        return self._directory.find_api_key(value) if kind == "key" else None


def _is_before(origin: TokenOriginRecord, changed: datetime | None) -> bool:
    return changed is not None and origin.elsewhere_at is not None and origin.elsewhere_at <= changed
