"""
Delivers the events of the audit log to destinations: at least once, and in order.

Each destination has a position in the audit log, in the database. One Server delivers to it at a time: the one that holds it, until it has
no heartbeat any more. The audit log is read a batch at a time, so a receiver that is down costs no memory, and a decision never waits for a
delivery. What was delivered is recorded after each batch: a Server that ends in between leaves a batch that is sent once more, with the
same IDs.

    look()           each second: which destinations have something to deliver, and are not held by another Server
    _deliver_batch   claim, read, send, record
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from lyftdata.core.backoff import Backoff
from lyftdata.core.event_destinations import (
    Stop,
    is_wanted,
    rejected_event,
    secrets_in_force,
    stopped_since,
    unseal_target,
)
from lyftdata.core.log_events.server import (
    EVENT_DELIVERY_FAILED,
    EVENT_DELIVERY_RESUMED,
    EVENT_DELIVERY_STOPPED,
    EVENTS_LOST,
)
from lyftdata.core.records import (
    ChainedAuditEvent,
    EventDeliveryRecord,
    EventDestinationRecord,
    Transport,
    WorkerRecord,
)
from lyftdata.core.sealing import UnsealError
from lyftdata.failure_log import FailureLog
from lyftdata.log import emit, get_logger
from lyftdata.server.clock import Clock
from lyftdata.server.delivery.messages import Destination, Message, Outcome, Sender, event_message
from lyftdata.server.metrics import Metrics
from lyftdata.store import Store, StoreError, WriteTx, audit_log
from lyftdata.store.tables import event_destinations

_log = get_logger(__name__)

_BATCH = 100
_MAX_WAIT_S = 600.0
_MAX_ERROR = 300
_NOT_UNSEALED = "Its URL cannot be decrypted: it was sealed with another secret key."


class _Work(msgspec.Struct, frozen=True):
    """A batch for one destination."""

    destination: EventDestinationRecord
    delivery: EventDeliveryRecord
    events: Sequence[ChainedAuditEvent]


class _Found(msgspec.Struct, frozen=True):
    """What a look at the destinations found: those for which there is something to do now, and why nothing is delivered to the others."""

    due: Sequence[str]
    stopped: Mapping[str, Mapping[Stop, datetime]]


class EventDelivery:
    """
    Delivers events to every destination that this Server holds.

    Args:
        store: Whose audit log.
        find_worker: Returns a Worker by ID; for filters by label.
        kek: Opens what is sealed.
        source: The issuer, which each message names.
        senders: By transport.
        threads: In which they send; closed at the end.
        dead_after: A Server without a heartbeat for so long holds nothing any more.
        metrics: Counts deliveries.
        clock: Aware UTC time.
        random: Returns a number from 0 up to 1.
    """

    def __init__(
        self,
        *,
        store: Store,
        find_worker: Callable[[str], WorkerRecord | None],
        kek: bytes,
        source: str,
        senders: Mapping[Transport, Sender],
        threads: ThreadPoolExecutor,
        dead_after: timedelta,
        metrics: Metrics,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._find_worker = find_worker
        self._kek = kek
        self._source = source
        self._senders = senders
        self._threads = threads
        self._dead_after = dead_after
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failure_logs: dict[str, FailureLog] = {}

    async def look(self) -> None:
        """Start to deliver where there is something to deliver; returns before it is delivered."""
        found = await self._store.read(self._find)
        self._metrics.keep_destinations(found.stopped)
        for name in self._failure_logs.keys() - found.stopped.keys():
            del self._failure_logs[name]
        for name in found.due:
            if name not in self._running:
                task = asyncio.create_task(self._deliver(name), name=f"deliver events to {name}")
                self._running[name] = task
                task.add_done_callback(lambda _, name=name: self._running.pop(name, None))  # type: ignore[misc]

    async def wait_until_idle(self) -> None:
        """Wait for the deliveries that are running."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def stop(self) -> None:
        """End the deliveries that are running; another Server, or the next start, goes on."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def send_one(self, record: EventDestinationRecord, message: Message) -> Outcome:
        """Send a message that is not in the audit log, out of turn."""
        destination = self._open(record)
        if destination is None:
            return Outcome(0, _NOT_UNSEALED)
        return await self._senders[record.transport].send(destination, [message])

    def _find(self, conn: Connection) -> _Found:
        records = event_destinations.all_destinations(conn)
        if not records:
            return _Found([], {})
        deliveries, last = event_destinations.all_deliveries(conn), audit_log.last_number(conn)
        now = self._clock()
        due = [
            record.name
            for record in records
            if record.paused_at is None
            and (delivery := deliveries.get(record.name)) is not None
            and delivery.through < last
            and (delivery.next_attempt_at is None or delivery.next_attempt_at <= now)
            and self._may_hold(conn, delivery)
        ]
        stopped = {
            record.name: stopped_since(record, deliveries[record.name])
            for record in records
            if record.name in deliveries
        }
        return _Found(due, stopped)

    def _may_hold(self, conn: Connection, delivery: EventDeliveryRecord) -> bool:
        return event_destinations.may_hold(
            conn, delivery, server_id=self._store.server_id, dead_after=self._dead_after
        )

    async def _deliver(self, name: str) -> None:
        """Deliver to one destination until nothing waits, or it fails."""
        try:
            while await self._deliver_batch(name):
                pass
        except StoreError as error:
            emit(_log, EVENT_DELIVERY_STOPPED, destination=name, problem=error.message)
        except Exception:  # noqa: BLE001 - the next look starts again; other destinations go on
            emit(_log, EVENT_DELIVERY_STOPPED, exc_info=True, destination=name)

    async def _deliver_batch(self, name: str) -> bool:
        """Deliver some events; return whether there may be more to deliver at once."""
        work = await self._store.read(lambda conn: self._load(conn, name))
        if work is None or not work.events:
            return False
        if work.delivery.holder != self._store.server_id and not await self._claim(name):
            return False
        wanted = [
            chained
            for chained in work.events
            if is_wanted(chained.event, work.destination, find_worker=self._find_worker)
        ]
        outcome = await self._send(work.destination, wanted)
        after = self._advance(work, wanted, outcome)
        is_recorded = await self._store.write(
            lambda tx: event_destinations.update_delivery(
                tx, after, before=work.delivery.through, server_id=self._store.server_id
            )
        )
        if is_recorded:
            self._report(work, after, outcome)
        return (
            is_recorded
            and not outcome.error
            and (len(work.events) == _BATCH or after.through < work.events[-1].number)
        )

    def _load(self, conn: Connection, name: str) -> _Work | None:
        destination = event_destinations.find_destination(conn, name)
        delivery = event_destinations.find_delivery(conn, name)
        if destination is None or delivery is None or destination.paused_at is not None:
            return None
        return _Work(
            destination, delivery, audit_log.events_after(conn, after=delivery.through, limit=_BATCH)
        )

    async def _claim(self, name: str) -> bool:
        def op(tx: WriteTx) -> bool:
            return event_destinations.claim(
                tx, name, server_id=self._store.server_id, dead_after=self._dead_after
            )

        return await self._store.write(op)

    async def _send(self, record: EventDestinationRecord, wanted: Sequence[ChainedAuditEvent]) -> Outcome:
        if not wanted:
            return Outcome(0)
        destination = self._open(record)
        if destination is None:
            return Outcome(0, _NOT_UNSEALED)
        messages = [event_message(chained, source=self._source) for chained in wanted]
        return await self._senders[record.transport].send(destination, messages)

    def _open(self, record: EventDestinationRecord) -> Destination | None:
        try:
            target = unseal_target(record, key=self._kek)
        except UnsealError:
            return None
        return Destination(
            name=record.name,
            transport=record.transport,
            url=target.url,
            secrets=secrets_in_force(target, record, now=self._clock()),
            ca=record.ca,
        )

    def _advance(
        self, work: _Work, wanted: Sequence[ChainedAuditEvent], outcome: Outcome
    ) -> EventDeliveryRecord:
        """Return how far the destination has got by an outcome."""
        before, now = work.delivery, self._clock()
        # What comes before the first event that was not delivered is done with.
        through = (
            work.events[-1].number
            if outcome.delivered == len(wanted)
            else wanted[outcome.delivered].number - 1
        )
        changed = msgspec.structs.replace(
            before,
            through=through,
            delivered=before.delivered + outcome.delivered,
            lost=before.lost + work.events[0].number - before.through - 1,
            last_success_at=now if outcome.delivered else before.last_success_at,
        )
        if not outcome.error:
            return msgspec.structs.replace(changed, failures=0, next_attempt_at=None, failing_since=None)
        failures = 0 if outcome.delivered else before.failures
        changed = _rejected(changed, wanted, outcome, now=now) if outcome.is_rejected else changed
        return msgspec.structs.replace(
            changed,
            failures=failures + 1,
            failing_since=(before.failing_since if failures else None) or now,
            last_error=outcome.error[:_MAX_ERROR],
            last_error_at=now,
            next_attempt_at=now + self._wait(failures, outcome.retry_after_s),
        )

    def _wait(self, failures: int, retry_after_s: float | None) -> timedelta:
        backoff = Backoff(random=self._random, max_s=_MAX_WAIT_S, failures=failures)
        return timedelta(seconds=backoff.next_s(retry_after_s=retry_after_s))

    def _report(self, work: _Work, after: EventDeliveryRecord, outcome: Outcome) -> None:
        name, before = after.name, work.delivery
        self._metrics.events_delivered(name, outcome.delivered, failed=bool(outcome.error))
        if after.lost > before.lost:
            emit(_log, EVENTS_LOST, destination=name, lost=after.lost - before.lost)
        failure_log = self._failure_logs.setdefault(name, FailureLog(_log, EVENT_DELIVERY_FAILED))
        if outcome.error:
            failure_log.failed(
                destination=name, problem=outcome.error, next_attempt_at=_text(after.next_attempt_at)
            )
        elif before.failures and outcome.delivered:
            failure_log.succeeded()
            emit(_log, EVENT_DELIVERY_RESUMED, destination=name)


def _rejected(
    delivery: EventDeliveryRecord, wanted: Sequence[ChainedAuditEvent], outcome: Outcome, *, now: datetime
) -> EventDeliveryRecord:
    """Note that the receiver rejected the event that comes next."""
    number = wanted[outcome.delivered].number
    is_first = rejected_event(delivery) != number
    return msgspec.structs.replace(
        delivery,
        rejected_number=number,
        rejected_since=now if is_first else delivery.rejected_since,
        rejections=1 if is_first else delivery.rejections + 1,
        rejection=outcome.error[:_MAX_ERROR],
    )


def _text(at: datetime | None) -> str:
    return "" if at is None else at.isoformat()
