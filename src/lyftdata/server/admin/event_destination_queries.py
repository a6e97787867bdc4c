"""Read model of event destinations, for admins."""

from collections import Counter
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from lyftdata.core.errors import NotFoundError
from lyftdata.core.event_destinations import MIN_REJECTIONS, Target, is_wanted, rejected_event, unseal_target
from lyftdata.core.records import (
    AuditEvent,
    EventDeliveryRecord,
    EventDestinationRecord,
    Transport,
    WorkerRecord,
)
from lyftdata.core.sealing import UnsealError
from lyftdata.server.admin.schemas.event_destinations import (
    EventDestination,
    EventDestinationDetails,
    EventQueue,
    RejectedEvent,
    WaitingEvent,
    WaitingType,
)
from lyftdata.server.clock import Clock
from lyftdata.store import Store, audit_log
from lyftdata.store.tables import event_destinations

_MAX_COUNTED = 10_000
_MAX_NEXT = 5


class EventDestinationQueries:
    """
    Destinations, with how far each has got.

    Args:
        store: Where they are kept.
        find_worker: Returns a Worker by ID; for filters by label.
        kek: Opens what is sealed.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        find_worker: Callable[[str], WorkerRecord | None],
        kek: bytes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._find_worker = find_worker
        self._kek = kek
        self._clock = clock

    async def list_all(self) -> list[EventDestination]:
        """Return every destination, by name."""

        def read(conn: Connection) -> list[EventDestination]:
            deliveries = event_destinations.all_deliveries(conn)
            return [
                self._view(conn, record, delivery, waiting=self._count(conn, record, delivery))
                for record in event_destinations.all_destinations(conn)
                if (delivery := deliveries.get(record.name)) is not None
            ]

        return await self._store.read(read)

    async def get(self, name: str) -> EventDestinationDetails:
        """Return one destination, and which events wait for it; raises NotFoundError."""

        def read(conn: Connection) -> EventDestinationDetails:
            record = event_destinations.get_destination(conn, name)
            delivery = event_destinations.find_delivery(conn, name)
            if delivery is None:
                raise NotFoundError("event_destination", name)
            waiting, has_more = self._waiting(conn, record, delivery)
            view = self._view(conn, record, delivery, waiting=len(waiting))
            return EventDestinationDetails(
                **view.model_dump(), queue=_queue(waiting, has_more=has_more) if waiting else None
            )

        return await self._store.read(read)

    def _count(self, conn: Connection, record: EventDestinationRecord, delivery: EventDeliveryRecord) -> int:
        if record.labels:
            return len(self._waiting(conn, record, delivery)[0])
        return event_destinations.count_waiting(
            conn, record.name, after=delivery.through, patterns=record.events, at_most=_MAX_COUNTED
        )

    def _waiting(
        self, conn: Connection, record: EventDestinationRecord, delivery: EventDeliveryRecord
    ) -> tuple[list[tuple[int, AuditEvent]], bool]:
        """Return the events that would be delivered now, each with its number, and whether there may be more of them."""
        events = event_destinations.waiting_events(
            conn, record.name, after=delivery.through, patterns=record.events, at_most=_MAX_COUNTED + 1
        )
        wanted = [
            (number, event)
            for number, event in events[:_MAX_COUNTED]
            if is_wanted(event, record, find_worker=self._find_worker)
        ]
        return wanted, len(events) > _MAX_COUNTED

    def _view(
        self,
        conn: Connection,
        record: EventDestinationRecord,
        delivery: EventDeliveryRecord,
        *,
        waiting: int,
    ) -> EventDestination:
        until = record.previous_secret_until
        return EventDestination(
            name=record.name,
            transport=record.transport,
            url=self._url(record),
            endpoint=record.endpoint,
            file=f"{record.name}.jsonl" if record.transport is Transport.FILE else "",
            events=record.events,
            labels=record.labels,
            ca=record.ca,
            is_paused=record.paused_at is not None,
            paused_at=record.paused_at,
            through=delivery.through,
            waiting=waiting,
            delivered=delivery.delivered,
            lost=delivery.lost,
            skipped=delivery.skipped,
            failures=delivery.failures,
            failing_since=delivery.failing_since if delivery.failures else None,
            rejected=_rejected(conn, delivery),
            last_success_at=delivery.last_success_at,
            last_error=delivery.last_error,
            last_error_at=delivery.last_error_at,
            next_attempt_at=delivery.next_attempt_at,
            previous_secret_until=until if until is not None and until > self._clock() else None,
            created_at=record.created_at,
            created_by=record.created_by,
        )

    def _url(self, record: EventDestinationRecord) -> str:
        try:
            return unseal_target(record, key=self._kek).url
        except UnsealError:
            return Target().url


def _rejected(conn: Connection, delivery: EventDeliveryRecord) -> RejectedEvent | None:
    """Return the event that the receiver rejects; None if there is none, or the audit log does not have it any more."""
    number, since = rejected_event(delivery), delivery.rejected_since
    chained = None if number is None else audit_log.find_event(conn, number)
    if number is None or since is None or chained is None:
        return None
    found = chained.event
    return RejectedEvent(
        number=number,
        at=found.at,
        type=found.action,
        subject=found.subject,
        actor=found.actor,
        address=found.address,
        details=found.details,
        times=delivery.rejections,
        since=since,
        answer=delivery.rejection,
        may_be_skipped=delivery.rejections >= MIN_REJECTIONS,
    )


def _queue(waiting: Sequence[tuple[int, AuditEvent]], *, has_more: bool) -> EventQueue:
    """Return what is shown of events that wait, the oldest first; there is at least one."""
    by_type = Counter(event.action for _, event in waiting)
    return EventQueue(
        first=waiting[0][0],
        last=waiting[-1][0],
        since=waiting[0][1].at,
        has_more=has_more,
        types=[
            WaitingType(type=action, count=count)
            for action, count in sorted(by_type.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        next=[
            WaitingEvent(
                number=number, at=event.at, type=event.action, subject=event.subject, actor=event.actor
            )
            for number, event in waiting[:_MAX_NEXT]
        ],
    )
