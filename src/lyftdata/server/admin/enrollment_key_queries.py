"""Read model of enrollment keys: the issued ones, and the one of the settings, `startup`."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from lyftdata.core.enrollment_rules import STARTUP_NAME
from lyftdata.core.errors import NotFoundError
from lyftdata.core.key_generations import newest_generation, seconds_until
from lyftdata.core.records import Approval, EnrollmentKeyRecord, EnrollmentMode
from lyftdata.core.scopes import UNLIMITED, Scope, covers_enrollment_key
from lyftdata.server.admin.schemas.enrollment import (
    EnrollmentKey,
    EnrollmentKeyState,
    LaggingHost,
    PreviousEnrollmentKey,
)
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.store import Store
from lyftdata.store.tables import enrollment_key_uses, enrollment_keys
from lyftdata.store.tables.enrollment_keys import KeyUses

_NOT_USED = KeyUses(uses=0, warned=0)


class EnrollmentKeyQueries:
    """Enrollment keys by name, each with all its generations; never the keys themselves."""

    def __init__(
        self, *, enrollment: Enrollment, directory: Directory, traces: ActivityLog, store: Store, clock: Clock
    ) -> None:
        self._enrollment = enrollment
        self._directory = directory
        self._traces = traces
        self._store = store
        self._clock = clock

    async def list_all(self, *, scope: Scope) -> list[EnrollmentKey]:
        """Return every key within a scope: the one of the settings first, the others by name."""
        records = sorted(self._directory.enrollment_keys(), key=lambda record: record.name)
        groups = (list(group) for _, group in groupby(records, key=lambda record: record.name))
        within = [group for group in groups if covers_enrollment_key(scope, group)]
        return await self._show(within, with_startup=not scope.is_limited, scope=scope)

    async def get(self, name: str, *, scope: Scope) -> EnrollmentKey:
        """Return one key, without the key itself; raises NotFoundError, also for one outside the scope."""
        if name == STARTUP_NAME:
            # It sets no labels, so it is within no scope.
            found = await self._show([], with_startup=not scope.is_limited, scope=scope)
            if not found:
                raise NotFoundError("enrollment_key", name)
            return found[0]
        generations = await self._store.read(lambda conn: enrollment_keys.find_by_name(conn, name))
        if not covers_enrollment_key(scope, generations):
            raise NotFoundError("enrollment_key", name)
        newest_generation(generations, kind="enrollment_key", name=name)
        return (await self._show([generations], with_startup=False, scope=scope))[0]

    async def _show(
        self, groups: Sequence[Sequence[EnrollmentKeyRecord]], *, with_startup: bool, scope: Scope
    ) -> list[EnrollmentKey]:
        uses = await self._store.read(enrollment_keys.count_uses)
        accepted = [key.fingerprint for key in self._enrollment.keys]
        wanted = [*accepted, *(record.fingerprint for group in groups for record in group)]
        last_used = await self._store.read(lambda conn: enrollment_key_uses.last_used(conn, wanted))
        found = [self._startup(accepted, last_used)] if with_startup and accepted else []
        return found + [self._view(list(group), uses, last_used, scope) for group in groups]

    def _startup(self, fingerprints: Sequence[str], last_used: Mapping[str, datetime]) -> EnrollmentKey:
        current, *previous = fingerprints
        return EnrollmentKey(
            name=STARTUP_NAME,
            source="setting",
            fingerprint=current,
            public_id=None,
            generation=1,
            status="live",
            max_uses=None,
            uses=None,
            worker_name=None,
            networks=[],
            labels={},
            ephemeral=False,
            mode=EnrollmentMode.AUTO,
            approve_name=None,
            approve_networks=[],
            pending=0,
            warned=0,
            created_at=None,
            created_by=None,
            rotated_at=None,
            expires_at=None,
            revoked_at=None,
            workers=self._workers(fingerprints, UNLIMITED),
            last_used_at=self._last_used(fingerprints, last_used),
            fingerprints=list(fingerprints),
            previous=[
                PreviousEnrollmentKey(fingerprint=old, expires_at=None, ends_in_s=None, hosts=[])
                for old in previous
            ],
        )

    def _view(
        self,
        generations: list[EnrollmentKeyRecord],
        uses: Mapping[str, KeyUses],
        last_used: Mapping[str, datetime],
        scope: Scope,
    ) -> EnrollmentKey:
        """Build the view of a key from its newest generation; older ones that still work are `previous`."""
        now = self._clock()
        newest, *older = sorted(generations, key=lambda record: record.generation, reverse=True)
        first = older[-1] if older else newest
        fingerprints = [newest.fingerprint, *(record.fingerprint for record in older)]
        pending = self._pending(scope)
        return EnrollmentKey(
            name=newest.name,
            source="issued",
            fingerprint=newest.fingerprint,
            public_id=newest.public_id,
            generation=newest.generation,
            status=_status(newest, uses, now),
            max_uses=newest.max_uses,
            uses=uses.get(newest.public_id, _NOT_USED).uses,
            worker_name=newest.worker_name,
            networks=newest.networks,
            labels=newest.labels,
            ephemeral=newest.ephemeral,
            mode=newest.mode,
            approve_name=newest.approve_name,
            approve_networks=newest.approve_networks,
            pending=sum(pending[fingerprint] for fingerprint in fingerprints),
            warned=sum(uses.get(record.public_id, _NOT_USED).warned for record in generations),
            created_at=first.created_at,
            created_by=first.created_by,
            rotated_at=newest.created_at if older else None,
            expires_at=newest.expires_at,
            revoked_at=newest.revoked_at,
            workers=self._workers(fingerprints, scope),
            last_used_at=self._last_used(fingerprints, last_used),
            fingerprints=fingerprints,
            previous=[
                self._show_previous(record, now, scope)
                for record in older
                if _status(record, uses, now) == "live"
            ],
        )

    def _show_previous(
        self, record: EnrollmentKeyRecord, now: datetime, scope: Scope
    ) -> PreviousEnrollmentKey:
        """Build the view of an older generation that still works, with the hosts that have used it since the rotation."""
        since = record.rotated_at or record.created_at
        lagging = (
            worker
            for worker in self._directory.workers()
            if worker.enrolled_with == record.fingerprint
            and worker.created_at >= since
            and scope.covers_worker(worker)
        )
        return PreviousEnrollmentKey(
            fingerprint=record.fingerprint,
            expires_at=record.expires_at,
            ends_in_s=seconds_until(record.expires_at, now=now),
            hosts=[
                LaggingHost(
                    worker_id=worker.id,
                    worker_name=worker.name,
                    address=worker.enrolled_from,
                    enrolled_at=worker.created_at,
                )
                for worker in sorted(lagging, key=lambda worker: (worker.created_at, worker.id))
            ],
        )

    def _pending(self, scope: Scope) -> Counter[str]:
        """Return how many Workers within a scope wait for approval, by the key's fingerprint."""
        if not scope.is_limited:
            return self._directory.pending()
        waiting = (worker for worker in self._directory.workers() if worker.approval is Approval.PENDING)
        return Counter(str(worker.enrolled_with) for worker in waiting if scope.covers_worker(worker))

    def _workers(self, fingerprints: Collection[str], scope: Scope) -> int:
        if scope.is_limited:
            # An operator may have moved some of them to another team since.
            return sum(
                worker.enrolled_with in fingerprints and scope.covers_worker(worker)
                for worker in self._directory.workers()
            )
        return sum(self._directory.enrolled_with(fingerprint) for fingerprint in fingerprints)

    def _last_used(self, fingerprints: Iterable[str], written: Mapping[str, datetime]) -> datetime | None:
        found = (self._traces.enrollment_key_pending(one) or written.get(one) for one in fingerprints)
        return max((at for at in found if at is not None), default=None)


def _status(record: EnrollmentKeyRecord, uses: Mapping[str, KeyUses], now: datetime) -> EnrollmentKeyState:
    if record.revoked_at is not None:
        return "revoked"
    if record.expires_at is not None and now >= record.expires_at:
        return "expired"
    if record.max_uses is not None and uses.get(record.public_id, _NOT_USED).uses >= record.max_uses:
        return "used_up"
    return "live"
