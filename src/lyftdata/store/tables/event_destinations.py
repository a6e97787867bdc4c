"""Tables of the destinations of events, and of how far each has got."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.event_destinations import EVENT_SKIPPED, MAX_DESTINATIONS, check_may_skip
from lyftdata.core.records import AuditEvent, EventDeliveryRecord, EventDestinationRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import audit_events, event_deliveries, event_destinations
from lyftdata.store.tables import servers
from lyftdata.store.writer.transaction import WriteTx


def insert_destination(tx: WriteTx, record: EventDestinationRecord, *, after: int) -> None:
    """
    Add a destination.

    Args:
        tx: The transaction.
        record: The destination.
        after: Events behind this number are delivered.

    Raises:
        ConflictError: `event_destination_name_taken`, `too_many_event_destinations`.
    """
    if find_destination(tx.conn, record.name) is not None:
        raise ConflictError(
            "event_destination_name_taken", f"There is an event destination named '{record.name}' already."
        )
    if (
        tx.conn.execute(select(func.count()).select_from(event_destinations)).scalar() or 0
    ) >= MAX_DESTINATIONS:
        raise ConflictError(
            "too_many_event_destinations", f"There are {MAX_DESTINATIONS} event destinations already."
        )
    tx.conn.execute(insert(event_destinations).values(to_row(record)))
    tx.conn.execute(
        insert(event_deliveries).values(to_row(EventDeliveryRecord(name=record.name, through=after)))
    )


def replace_destination(tx: WriteTx, record: EventDestinationRecord) -> None:
    """Write a destination over itself."""
    row = to_row(record)
    tx.conn.execute(
        update(event_destinations).where(event_destinations.c.name == row.pop("name")).values(row)
    )


def delete_destination(tx: WriteTx, name: str) -> EventDestinationRecord:
    """Remove a destination; raises NotFoundError."""
    record = get_destination(tx.conn, name)
    tx.conn.execute(delete(event_deliveries).where(event_deliveries.c.name == name))
    tx.conn.execute(delete(event_destinations).where(event_destinations.c.name == name))
    return record


def find_destination(conn: Connection, name: str) -> EventDestinationRecord | None:
    """Return the destination with this name, or None."""
    row = conn.execute(select(event_destinations).where(event_destinations.c.name == name)).first()
    return None if row is None else from_row(EventDestinationRecord, row)


def get_destination(conn: Connection, name: str) -> EventDestinationRecord:
    """Return the destination with this name; raises NotFoundError."""
    record = find_destination(conn, name)
    if record is None:
        raise NotFoundError("event_destination", name)
    return record


def all_destinations(conn: Connection) -> list[EventDestinationRecord]:
    """Return every destination, by name."""
    rows = conn.execute(select(event_destinations).order_by(event_destinations.c.name))
    return [from_row(EventDestinationRecord, row) for row in rows]


def all_deliveries(conn: Connection) -> dict[str, EventDeliveryRecord]:
    """Return how far each destination has got, by name."""
    rows = conn.execute(select(event_deliveries))
    return {row.name: from_row(EventDeliveryRecord, row) for row in rows}


def find_delivery(conn: Connection, name: str) -> EventDeliveryRecord | None:
    """Return how far a destination has got, None if there is no such destination."""
    row = conn.execute(select(event_deliveries).where(event_deliveries.c.name == name)).first()
    return None if row is None else from_row(EventDeliveryRecord, row)


def may_hold(
    conn: Connection, delivery: EventDeliveryRecord, *, server_id: str, dead_after: timedelta
) -> bool:
    """Return whether a Server may deliver to a destination: no other Server does that still has a heartbeat."""
    if delivery.holder in {None, server_id} or not dialect.is_shared(conn.engine):
        return True
    return delivery.holder not in servers.list_live(conn, silent_for=dead_after)


def claim(tx: WriteTx, name: str, *, server_id: str, dead_after: timedelta) -> bool:
    """Let a Server deliver to a destination; return False if another one does, or there is no such destination."""
    delivery = find_delivery(tx.conn, name)
    if delivery is None or not may_hold(tx.conn, delivery, server_id=server_id, dead_after=dead_after):
        return False
    if delivery.holder != server_id:
        statement = update(event_deliveries).where(event_deliveries.c.name == name)
        tx.conn.execute(statement.values(holder=server_id))
    return True


def update_delivery(tx: WriteTx, delivery: EventDeliveryRecord, *, before: int, server_id: str) -> bool:
    """
    Record how far a destination has got; return False if the Server does not hold it any more, or something else has moved it meanwhile.

    A Server that was suspended and taken for dead must not set back what its successor has delivered since, nor an attempt that was under
    way an event that an operator has skipped.

    Args:
        tx: The transaction.
        delivery: What to record.
        before: Where the destination was when the delivery began.
        server_id: Who delivered.
    """
    row = to_row(delivery)
    name, _ = row.pop("name"), row.pop("holder")
    statement = update(event_deliveries).where(
        event_deliveries.c.name == name,
        event_deliveries.c.holder == server_id,
        event_deliveries.c.through == before,
    )
    return tx.conn.execute(statement.values(row)).rowcount == 1


def retry_now(tx: WriteTx, name: str) -> None:
    """Let the next attempt be made at once; until it succeeds, the destination is one that fails."""
    statement = update(event_deliveries).where(event_deliveries.c.name == name)
    tx.conn.execute(statement.values(next_attempt_at=None))


def skip_event(tx: WriteTx, name: str, number: int) -> EventDeliveryRecord:
    """
    Leave out the event that a receiver rejects, and let the next one be sent at once; return how it was before.

    Raises:
        NotFoundError: No such destination.
        ConflictError: `event_does_not_wait`, `event_not_rejected`.
    """
    before = find_delivery(tx.conn, name)
    if before is None:
        raise NotFoundError("event_destination", name)
    check_may_skip(before, number)
    statement = update(event_deliveries).where(event_deliveries.c.name == name)
    tx.conn.execute(
        statement.values(
            through=number,
            skipped=before.skipped + 1,
            failures=0,
            failing_since=None,
            next_attempt_at=None,
        )
    )
    forget_rejections(tx, name)
    return before


def forget_rejections(tx: WriteTx, name: str) -> None:
    """Forget what the receiver has rejected: what is sent, or where to, has changed."""
    statement = update(event_deliveries).where(event_deliveries.c.name == name)
    tx.conn.execute(statement.values(rejected_number=None, rejected_since=None, rejections=0, rejection=""))


def count_waiting(conn: Connection, name: str, *, after: int, patterns: Sequence[str], at_most: int) -> int:
    """
    Count the events behind a number whose type fits one of the patterns of a destination, up to `at_most`.

    Labels are not asked for: what is counted may hold events that are then left out.
    """
    query = select(audit_events.c.number).where(*_waiting(name, after, patterns)).limit(at_most)
    return conn.execute(select(func.count()).select_from(query.subquery())).scalar() or 0


def waiting_events(
    conn: Connection, name: str, *, after: int, patterns: Sequence[str], at_most: int
) -> list[tuple[int, AuditEvent]]:
    """
    Return the events behind a number whose type fits one of the patterns of a destination, the oldest first and up to `at_most`.

    Each has its number. They come without address and details, which may be long. Labels are not asked for, as in `count_waiting`.
    """
    table = audit_events.c
    query = select(table.number, table.at, table.actor, table.action, table.subject)
    query = query.where(*_waiting(name, after, patterns)).order_by(table.number).limit(at_most)
    return [
        (row.number, AuditEvent(at=row.at, actor=row.actor, action=row.action, subject=row.subject))
        for row in conn.execute(query)
    ]


def _waiting(name: str, after: int, patterns: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    yield audit_events.c.number > after
    if patterns and "*" not in patterns:
        yield or_(*_conditions(patterns), _is_notice_of_gap(name))


def _is_notice_of_gap(name: str) -> ColumnElement[bool]:
    """Return the condition that `core.event_destinations.is_notice_of_gap` is."""
    return and_(
        audit_events.c.action == EVENT_SKIPPED,
        audit_events.c.subject == f"event_destination:{name}",
        audit_events.c.details["type"].as_string() != EVENT_SKIPPED,
    )


def _conditions(patterns: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    for pattern in patterns:
        if pattern.endswith(".*"):
            yield audit_events.c.action.startswith(pattern[:-1], autoescape=True)
        else:
            yield audit_events.c.action == pattern
