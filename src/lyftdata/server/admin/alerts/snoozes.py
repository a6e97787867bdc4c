"""
Snoozes alerts for an hour, until tomorrow or for a week.

A snoozed alert is not gone: every operator sees until when, by whom and why it is snoozed, and admins can end the snooze. It comes back
by itself at the end, or as soon as it gets worse (`core/snoozing.py`). Events are delivered as before; only the list on the overview
changes.
"""

from datetime import timedelta

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.snoozing import (
    ID_LENGTH,
    MAX_SNOOZED,
    MAX_SNOOZED_FOR,
    SnoozedAlertRecord,
    alert_digest,
    describe_members,
)
from lyftdata.core.text import clean_text
from lyftdata.server.admin.alerts.finder import Alerts
from lyftdata.server.admin.put_off import put_off
from lyftdata.server.admin.schemas.status import Alert
from lyftdata.server.clock import Clock
from lyftdata.server.streams.events import Events
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import snoozed_alerts

_MAX_TITLE = 300


class Snoozes:
    """
    Snoozes alerts, and ends snoozes; they are stored in the database, so they apply at every Server.

    Args:
        alerts: Finds the current alerts.
        known_secrets: What no note may hold.
        store: Keeps the decisions.
        events: Updates open pages.
        clock: Aware UTC time.
    """

    def __init__(
        self, *, alerts: Alerts, known_secrets: KnownSecrets, store: Store, events: Events, clock: Clock
    ) -> None:
        self._alerts = alerts
        self._known_secrets = known_secrets
        self._store = store
        self._events = events
        self._clock = clock

    async def find(self, alert_id: str) -> Alert:
        """Return a current alert by its ID; raises NotFoundError."""
        for alert in await self._alerts.find():
            if alert.id and alert.id == alert_id:
                return alert
        raise NotFoundError("alert", clean_text(alert_id, ID_LENGTH))

    async def snooze(self, alert_id: str, *, for_: timedelta, note: str, actor: Actor) -> None:
        """
        Snooze a current alert, or change for how long it is snoozed.

        Raises:
            NotFoundError: There is no such alert now.
            InvalidInputError: A time of more than a week, a note that is too long or holds a credential.
            ConflictError: `alert_not_snoozable`, or `too_many_snoozed`.
        """
        alert, now = await self.find(alert_id), self._clock()
        if not alert.can_snooze:
            raise ConflictError(
                "alert_not_snoozable",
                "This cannot be snoozed: it says that somebody may be attacking, or waits for a decision.",
                hint="Decide, or remove its cause: it goes by itself then.",
            )
        decision = put_off(
            for_, note, at_most=MAX_SNOOZED_FOR, actor=actor, now=now, known_secrets=self._known_secrets
        )
        record = SnoozedAlertRecord(
            alert=alert_digest(alert.kind.value, alert.key),
            kind=alert.kind.value,
            title=alert.title[:_MAX_TITLE],
            until=decision.until,
            at=decision.at,
            by=decision.by,
            note=decision.note,
            size=len(set(alert.about)),
            members=describe_members(alert.about),
        )

        def op(tx: WriteTx) -> None:
            snoozed_alerts.remove_ended(tx, now=now)
            others = [
                one for one in snoozed_alerts.list_snoozed(tx.conn, now=now) if one.alert != record.alert
            ]
            if len(others) >= MAX_SNOOZED:
                raise ConflictError(
                    "too_many_snoozed", f"At most {MAX_SNOOZED} alerts can be snoozed at once."
                )
            snoozed_alerts.snooze(tx, record)
            details = {"alert": alert.id, "title": record.title} | decision.details
            tx.audit(actor.audit_event("attention.snoozed", _subject(record), at=now, details=details))

        await self._store.write(op)
        self._events.count_change()

    async def unsnooze(self, alert_id: str, *, actor: Actor) -> None:
        """End a snooze now; raises NotFoundError if no alert with this ID is snoozed."""
        now = self._clock()

        def op(tx: WriteTx) -> None:
            for record in snoozed_alerts.list_snoozed(tx.conn, now=now):
                if record.alert[:ID_LENGTH] == alert_id:
                    snoozed_alerts.unsnooze(tx, record.alert)
                    details = {"alert": alert_id, "title": record.title}
                    tx.audit(
                        actor.audit_event("attention.unsnoozed", _subject(record), at=now, details=details)
                    )
                    return
            raise NotFoundError("snoozed_alert", clean_text(alert_id, ID_LENGTH))

        await self._store.write(op)
        self._events.count_change()


def _subject(record: SnoozedAlertRecord) -> str:
    return f"alert:{record.kind}"
