"""
Records in the audit log when an alert is raised and when it has ended, so that it is delivered like every other event.

`finder` decides what is an alert, and `fleet_queries` which Workers are lost, as for the overview. With several Servers, the one that started first does this; the others report only that the audit
log was changed or cut, because each checks it on its own, and compares it with a checkpoint on its own host.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from lyftdata.core.outages import group_losses
from lyftdata.core.records import AuditEvent, OpenAlertRecord, ServerRecord
from lyftdata.core.text import count
from lyftdata.server.admin.alerts.finder import Alerts
from lyftdata.server.admin.fleet_queries import FleetQueries, fleet_view
from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import open_alerts

ENDED = "alert.ended"
# An alert that comes and goes counts as one; lists only show the first few of a kind, which vary.
_ENDS_AFTER = timedelta(minutes=10)
_NOTE_EVERY = timedelta(minutes=1)
_MAX_OPEN = 500
# Only what happens, not what could be configured better: that stays on the overview.
INCIDENTS = frozenset(
    {
        AlertKind.AGENT_TOO_OLD,
        AlertKind.APPROVAL,
        AlertKind.AUDIT_LOG,
        AlertKind.CHANGE_REQUEST,
        AlertKind.DUPLICATE,
        AlertKind.EVENTS_PAUSED,
        AlertKind.EVENTS_WAIT,
        AlertKind.KEY_EXPIRES,
        AlertKind.KEY_ROTATION,
        AlertKind.OTHER_NETWORK,
        AlertKind.PASSKEY_COPIED,
        AlertKind.REFUSED,
        AlertKind.WORKERS_LOST,
    }
)
_MAX_DETAIL = 300
# A Worker whose connection broke is back within 45 seconds.
_GONE_FOR = timedelta(minutes=2)


class AlertWatch:
    """
    A background task.

    Args:
        store: Holds the audit log.
        alerts: Finds what needs attention.
        fleet: Knows which Workers were lost.
        directory: The existing Workers.
        all_servers: Returns the Servers that share this state, by start time.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        alerts: Alerts,
        fleet: FleetQueries,
        directory: Directory,
        all_servers: Callable[[], Awaitable[Sequence[ServerRecord]]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._fleet = fleet
        self._directory = directory
        self._all_servers = all_servers
        self._clock = clock

    async def look(self) -> None:
        """Compare the current alerts with the open ones."""
        servers = await self._all_servers()
        if servers and servers[0].id != self._store.server_id:
            await self._report_own()
            return
        known = await self._store.read(open_alerts.all_open)
        found = _by_key([*await self._lost(known), *await self._alerts.find()])
        if self._has_changes(found, known):
            await self._store.write(lambda tx: self._record(tx, found, is_all=True))

    async def _report_own(self) -> None:
        """Raise what only this Server may know, and keep it from ending while that is so."""
        found = _by_key(self._alerts.audit_log())
        if not found:
            return
        known = [one for one in await self._store.read(open_alerts.all_open) if (one.kind, one.key) in found]
        if self._has_changes(found, known):
            await self._store.write(lambda tx: self._record(tx, found, is_all=False))

    async def _lost(self, known: Sequence[OpenAlertRecord]) -> list[Alert]:
        """Return an alert for each outage from which Workers are still missing."""
        state = await self._fleet.state()
        lost = {
            worker_id: at
            for worker_id, at in state.lost.items()
            if at <= state.at - _GONE_FOR and not self._is_ephemeral(worker_id)
        }
        starts = [datetime.fromisoformat(one.key) for one in known if one.kind == AlertKind.WORKERS_LOST]
        return [
            Alert(
                kind=AlertKind.WORKERS_LOST,
                subject="",
                key=outage.began_at.isoformat(),
                worker_id=outage.worker_ids[0] if len(outage.worker_ids) == 1 else "",
                title=f"{count(len(outage.worker_ids), 'Worker')} went offline and did not sign off",
                detail=fleet_view(state).title,
            )
            for outage in group_losses(lost, open_since=starts)
        ]

    def _is_ephemeral(self, worker_id: str) -> bool:
        worker = self._directory.find_worker(worker_id)
        return worker is None or worker.ephemeral

    def _has_changes(self, found: dict[tuple[str, str], Alert], known: Sequence[OpenAlertRecord]) -> bool:
        now, keys = self._clock(), {(record.kind, record.key) for record in known}
        return bool(found.keys() - keys) or any(
            now - record.last_seen_at >= (_NOTE_EVERY if (record.kind, record.key) in found else _ENDS_AFTER)
            for record in known
        )

    def _record(self, tx: WriteTx, found: dict[tuple[str, str], Alert], *, is_all: bool) -> None:
        """
        Record alerts that have begun or ended; reads the open ones again, since another Server may have recorded them.

        Args:
            tx: The transaction.
            found: The current alerts.
            is_all: Whether these are all, so that the others have ended.
        """
        now = self._clock()
        known = open_alerts.all_open(tx.conn)
        for record in known:
            alert = found.pop((record.kind, record.key), None)
            if alert is not None:
                open_alerts.note_seen(tx, record, at=now)
            elif is_all and now - record.last_seen_at >= _ENDS_AFTER:
                open_alerts.end_alert(tx, record)
                tx.audit(self._event(ENDED, f"alert:{record.kind}", {"kind": record.kind, "key": record.key}))
        for (kind, key), alert in list(found.items())[: max(0, _MAX_OPEN - len(known))]:
            open_alerts.raise_alert(tx, OpenAlertRecord(kind=kind, key=key, raised_at=now, last_seen_at=now))
            details = {"kind": kind, "key": key, "title": alert.title, "detail": alert.detail[:_MAX_DETAIL]}
            subject = f"worker:{alert.worker_id}" if alert.worker_id else f"alert:{kind}"
            tx.audit(self._event(f"alert.{kind}", subject, details))

    def _event(self, action: str, subject: str, details: dict[str, str]) -> AuditEvent:
        return AuditEvent(at=self._clock(), actor="server", action=action, subject=subject, details=details)


def _by_key(alerts: Sequence[Alert]) -> dict[tuple[str, str], Alert]:
    return {
        (alert.kind.value, alert.key[:200]): alert
        for alert in alerts
        if alert.key and alert.kind in INCIDENTS
    }
