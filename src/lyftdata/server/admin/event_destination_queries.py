"""Read model of event destinations, for admins."""

from sqlalchemy import Connection

from lyftdata.core.errors import NotFoundError
from lyftdata.core.event_destinations import Target, unseal_target
from lyftdata.core.records import EventDeliveryRecord, EventDestinationRecord, Transport
from lyftdata.core.sealing import UnsealError
from lyftdata.server.admin.schemas.event_destinations import EventDestination
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import event_destinations

_MAX_COUNTED = 10_000


class EventDestinationQueries:
    """
    Destinations, with how far each has got.

    Args:
        store: Where they are kept.
        kek: Opens what is sealed.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, kek: bytes, clock: Clock) -> None:
        self._store = store
        self._kek = kek
        self._clock = clock

    async def list_all(self) -> list[EventDestination]:
        """Return every destination, by name."""

        def read(conn: Connection) -> list[EventDestination]:
            deliveries = event_destinations.all_deliveries(conn)
            return [
                self._view(conn, record, deliveries[record.name])
                for record in event_destinations.all_destinations(conn)
                if record.name in deliveries
            ]

        return await self._store.read(read)

    async def get(self, name: str) -> EventDestination:
        """Return one destination; raises NotFoundError."""

        def read(conn: Connection) -> EventDestination:
            record = event_destinations.get_destination(conn, name)
            delivery = event_destinations.find_delivery(conn, name)
            if delivery is None:
                raise NotFoundError("event_destination", name)
            return self._view(conn, record, delivery)

        return await self._store.read(read)

    def _view(
        self, conn: Connection, record: EventDestinationRecord, delivery: EventDeliveryRecord
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
            through=delivery.through,
            waiting=event_destinations.count_waiting(
                conn, after=delivery.through, patterns=record.events, at_most=_MAX_COUNTED
            ),
            delivered=delivery.delivered,
            lost=delivery.lost,
            failures=delivery.failures,
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
