"""
The audit log: append-only.

The head row names the last event, under a keyed hash of its own, so that removing events from the end is found
like any other removal. A Server remembers the head and compares it with the row before each group of events: others
may have appended (other Servers, a command on the host). Where the row goes back behind what the Server remembers, the
log was cut, and is never sound again. Were the row alone believed, the next event would close the gap.
"""

import hmac
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from lyftdata.core.audit import GENESIS, KEY_ROTATED, PRUNED, ChainReport, chain_hash, verify_chain
from lyftdata.core.incidents import CUT_OFF
from lyftdata.core.progress import OnProgress, ignore_progress
from lyftdata.core.records import AuditEvent, ChainedAuditEvent
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import audit_events, audit_head

_HEAD_ID = 1
_AT_ONCE = 1_000
_MAX_DIGITS = 18
_NOT_OURS = bytes(32)

Observe = Callable[[Iterator[ChainedAuditEvent]], Iterator[ChainedAuditEvent]]


class Head(msgspec.Struct, frozen=True):
    """
    Where the chain ends.

    `sound` is False once the head was found removed or changed. It stays so: every head written afterwards carries
    no valid hash, so that `verify` goes on telling of it however many events follow.
    """

    number: int
    hash: bytes
    sound: bool = True


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which events are wanted; what is None or empty does not narrow.

    `action` may end with `*` for all that begin so. `subject` of a Worker (`worker:ID`) stands also for the cut-offs of incidents that it was
    in. `actor` is an operator's name, or what the log says: `server`, `api_token:NAME`, `worker:ID`. `since` is in the span, `until` is not.
    """

    action: str | None = None
    subject: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERY_EVENT = AuditFilter()


class WrittenHead(msgspec.Struct, frozen=True):
    """The head row as it is in the database."""

    number: int
    hash: bytes
    mac: bytes

    def is_written_with(self, key: bytes) -> bool:
        """Return whether the row was written with this key."""
        return hmac.compare_digest(self.mac, _head_mac(self.number, self.hash, key))


def begin(conn: Connection, *, key: bytes) -> None:
    """Write the head of an empty log, in the transaction that makes the tables: one without it was tampered with."""
    write_head(conn, Head(0, GENESIS), key=key)


def load_head(conn: Connection, *, key: bytes) -> Head:
    """Return where the chain goes on, however the log was treated meanwhile: the Server must be able to start."""
    row = conn.execute(select(audit_head)).first()
    # Numbers that are taken are not given again, not even those of events that somebody else put there.
    last = last_number(conn)
    if row is None:
        return Head(last, GENESIS, sound=False)
    return Head(max(row.number, last), row.hash, sound=_has_valid_mac(row, key))


def follow(conn: Connection, *, known: Head, key: bytes) -> Head:
    """
    Return where the chain goes on, in a database to which others append too.

    What this Server remembers is compared with it: a log that ends before what was there at the last look, or in which
    that event is another one now, was turned back or changed, and is never sound again.
    """
    row = conn.execute(select(audit_head)).first()
    if row is not None and (row.number, row.hash) == (known.number, known.hash):
        return known if _has_valid_mac(row, key) else msgspec.structs.replace(known, sound=False)
    if (
        row is not None
        and known.sound
        and _has_valid_mac(row, key)
        and row.number > known.number
        and has(conn, known)
    ):
        return Head(row.number, row.hash)
    found = load_head(conn, key=key)
    return Head(max(found.number, known.number), found.hash, sound=False)


def is_under_another_key(conn: Connection, *, after: int) -> bool:
    """Return whether the secret key was rotated by an event behind a number."""
    query = (
        select(audit_events.c.number)
        .where(audit_events.c.action == KEY_ROTATED, audit_events.c.number > after)
        .limit(1)
    )
    return conn.execute(query).first() is not None


def rehash(conn: Connection, *, key: bytes, on_progress: OnProgress = ignore_progress) -> Head:
    """
    Replace the hash of every event by one under another key; return the end of the new chain.

    The caller has verified the chain, and owes `write_head`. The hash before the first event that is left stays as it is: that
    event was removed.
    """
    statement = (
        update(audit_events)
        .where(audit_events.c.number == bindparam("at_number"))
        .values(previous=bindparam("new_previous"), hash=bindparam("new_hash"))
    )
    head = Head(*_start_of(conn, removed_through(conn)))
    last = last_number(conn)
    while batch := events_after(conn, after=head.number, limit=_AT_ONCE):
        rows = []
        for chained in batch:
            digest = chain_hash(chained.event, number=chained.number, previous=head.hash, key=key)
            rows.append({"at_number": chained.number, "new_previous": head.hash, "new_hash": digest})
            head = Head(chained.number, digest)
        conn.execute(statement, rows)
        on_progress("Hashing the audit log again", head.number, last)
    return head


def is_marked_unsound(conn: Connection) -> bool:
    """Return whether a Server has found the log changed, and written so down."""
    return conn.execute(select(audit_head.c.mac)).scalar() == _NOT_OURS


def has(conn: Connection, head: Head) -> bool:
    """Return whether the log holds the event that was its end once."""
    if head.number == 0:
        return True
    found = conn.execute(select(audit_events.c.hash).where(audit_events.c.number == head.number)).scalar()
    return found is not None and hmac.compare_digest(found, head.hash)


def write_head(conn: Connection, head: Head, *, key: bytes) -> None:
    """Write down where the chain ends; once a transaction, after its events."""
    mac = _head_mac(head.number, head.hash, key) if head.sound else _NOT_OURS
    row = {"id": _HEAD_ID, "number": head.number, "hash": head.hash, "mac": mac}
    dialect.upsert(conn, audit_head, [row])


def link(event: AuditEvent, *, head: Head, key: bytes) -> tuple[dict[str, Any], Head]:
    """Return the row of an event that follows on a head, and the head that follows on it; nothing is written yet."""
    number = head.number + 1
    digest = chain_hash(event, number=number, previous=head.hash, key=key)
    row = to_row(event) | {"number": number, "previous": head.hash, "hash": digest}
    return row, Head(number, digest, sound=head.sound)


def append(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """
    Append events, as `link` gave them.

    The caller's transaction makes them durable together with what they tell of; the caller owes `write_head`.
    """
    if rows:
        conn.execute(insert(audit_events), rows)


def list_events(
    conn: Connection,
    *,
    limit: int,
    before: int | None = None,
    wanted: AuditFilter = EVERY_EVENT,
) -> list[ChainedAuditEvent]:
    """Return events, the latest first and at most so many; `before` is the number of the last event of the page before."""
    query = select(audit_events).order_by(audit_events.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_events.c.number < before)
    return [_chained(row) for row in conn.execute(query.where(*_conditions(wanted)))]


def _conditions(wanted: AuditFilter) -> Iterator[ColumnElement[bool]]:
    table = audit_events.c
    if wanted.action:
        prefix, is_prefix = wanted.action.removesuffix("*"), wanted.action.endswith("*")
        yield table.action.startswith(prefix, autoescape=True) if is_prefix else table.action == prefix
    if wanted.subject:
        yield or_(table.subject == wanted.subject, *_cut_offs_of(wanted.subject))
    if wanted.actor:
        # An operator's name stands for itself; what has no name of its own is called as in the log.
        yield table.actor.in_([wanted.actor, f"operator:{wanted.actor}"])
    if wanted.since is not None:
        yield table.at >= wanted.since
    if wanted.until is not None:
        yield table.at < wanted.until


def list_of_actions(
    conn: Connection, actions: Collection[str], *, since: datetime, limit: int
) -> list[ChainedAuditEvent]:
    """Return the events with one of these actions since a time, the latest first, and at most so many."""
    query = select(audit_events).where(audit_events.c.action.in_(sorted(actions)), audit_events.c.at >= since)
    return [_chained(row) for row in conn.execute(query.order_by(audit_events.c.number.desc()).limit(limit))]


def events_about(
    conn: Connection,
    subject: str,
    actions: Collection[str],
    *,
    after: int,
    unwritten: Sequence[Mapping[str, Any]] = (),
) -> list[ChainedAuditEvent]:
    """Return the events about a subject with one of these actions behind a number, the oldest first; `unwritten` as in `count_by`."""
    table = audit_events.c
    query = select(audit_events).where(
        table.number > after, table.subject == subject, table.action.in_(sorted(actions))
    )
    found = [_chained(row) for row in conn.execute(query.order_by(table.number))]
    return found + [
        _chained_unwritten(row)
        for row in unwritten
        if row["number"] > after and row["subject"] == subject and row["action"] in actions
    ]


def count_by(
    conn: Connection,
    actors: Collection[str],
    action: str,
    *,
    cut_off: str,
    since: datetime,
    unwritten: Sequence[Mapping[str, Any]] = (),
) -> int:
    """
    Return how many Workers these actors have changed since a time, each by itself or in the cut-off of an incident.

    What a second operator has confirmed is left out.

    Args:
        conn: A connection.
        actors: As the log names them.
        action: The audit action about one Worker.
        cut_off: What a cut-off calls the same in its details.
        since: Aware UTC time.
        unwritten: `WriteTx.unwritten`, within a transaction.
    """
    table = audit_events.c
    theirs = (
        table.at > since,
        table.actor.in_(sorted(actors)),
        table.details["confirmed_by"].as_string().is_(None),
    )
    singly = select(func.count()).select_from(audit_events).where(table.action == action, *theirs)
    cut_offs = select(table.details).where(table.action == CUT_OFF, *theirs)
    more = [
        row
        for row in unwritten
        if row["at"] > since and row["actor"] in actors and "confirmed_by" not in row["details"]
    ]
    more_cut_offs = [row["details"] for row in more if row["action"] == CUT_OFF]
    written: int = conn.execute(singly).scalar_one()
    owed = len([row for row in more if row["action"] == action])
    return (
        written
        + owed
        + sum(
            len(details.get("workers", "").split())
            for details in [*conn.execute(cut_offs).scalars(), *more_cut_offs]
            if details.get("action") == cut_off
        )
    )


def _cut_offs_of(subject: str) -> Iterator[ColumnElement[bool]]:
    """Yield the condition for cut-offs of a Worker, whose events are about the key or the address of the incident."""
    kind, _, worker_id = subject.partition(":")
    if kind != "worker" or not worker_id:
        return
    # IDs stand between spaces, which none holds.
    for name in ("workers", "by_key"):
        ids = literal(" ") + audit_events.c.details[name].as_string() + literal(" ")
        yield and_(audit_events.c.action == CUT_OFF, ids.contains(f" {worker_id} ", autoescape=True))


def known_actions(conn: Connection) -> list[str]:
    """Return every action that the log holds, in order of the alphabet."""
    # One step in the index for each: asked as a whole, the database would read every event of a log of millions.
    found: list[str] = []
    query = select(func.min(audit_events.c.action)).where(audit_events.c.action > bindparam("last"))
    last = ""
    while (following := conn.execute(query, {"last": last}).scalar()) is not None:
        found.append(following)
        last = following
    return found


def find_event(conn: Connection, number: int) -> ChainedAuditEvent | None:
    """Return the event with this number, or None."""
    row = conn.execute(select(audit_events).where(audit_events.c.number == number)).first()
    return None if row is None else _chained(row)


def events_after(
    conn: Connection, *, after: int, limit: int, wanted: AuditFilter = EVERY_EVENT
) -> list[ChainedAuditEvent]:
    """Return the events behind a number, the oldest first."""
    query = select(audit_events).where(audit_events.c.number > after, *_conditions(wanted))
    query = query.order_by(audit_events.c.number).limit(limit)
    return [_chained(row) for row in conn.execute(query)]


def workers_changed_after(conn: Connection, *, after: int) -> set[str]:
    """Return the IDs of the Workers about which an operator or an API token has decided something since an event."""
    table = audit_events.c
    in_person = or_(table.actor.startswith("operator:"), table.actor.startswith("api_token:"))
    one = select(table.subject).where(
        table.number > after,
        table.subject.startswith("worker:"),
        table.action.startswith("worker."),
        in_person,
    )
    found = {str(subject).removeprefix("worker:") for subject in conn.execute(one.distinct()).scalars()}
    # A cut-off names all its Workers, also those that were disabled before.
    cut_off = select(table.details).where(table.number > after, table.action == CUT_OFF)
    for details in conn.execute(cut_off).scalars():
        found.update(details.get("workers", "").split(), details.get("by_key", "").split())
    return found


def last_number(conn: Connection) -> int:
    """Return the number of the last event, 0 if there is none."""
    return conn.execute(select(func.max(audit_events.c.number))).scalar() or 0


def verify(
    conn: Connection,
    *,
    key: bytes,
    written: int = 0,
    between: Callable[[], None] = lambda: None,
    observe: Observe = lambda events: events,
    on_progress: OnProgress = ignore_progress,
) -> ChainReport:
    """
    Check every link of the chain, its end, and that the head was written by us.

    Args:
        conn: A reading connection.
        key: The key of the chain.
        written: Number of an event known to be written: a log that ends before it was turned back, even if an
            old head that once was ours was put in place.
        between: Called after each thousand events; whatever it raises ends the check.
        observe: Is given the events as they are read, and yields them.
        on_progress: Called with the progress.
    """
    row = conn.execute(select(audit_head)).first()
    if row is None:
        return _unsound("The record of the last event was removed.")
    if not _has_valid_mac(row, key):
        return _unsound("The record of the last event was changed.")
    removed = removed_through(conn)
    with _in_order(conn) as rows:
        events = _with_breaks(
            rows, between, lambda done: on_progress("Checking the audit log", done, row.number)
        )
        report = verify_chain(
            observe(events), key=key, start=_start_of(conn, removed), expected_head=(row.number, row.hash)
        )
    report = msgspec.structs.replace(report, removed=removed)
    if report.ok and report.head_number < written:
        problem = f"The log ends at event {report.head_number}, but event {written} was written."
        return msgspec.structs.replace(report, ok=False, first_bad=report.head_number + 1, problem=problem)
    return report


def removed_through(conn: Connection) -> int:
    """
    Return up to which number events were removed because they had become too old, 0 if none were.

    The last event that says so says it. It is in the chain as every other event is, so that only a Server can have written it;
    and without it the chain has a gap.
    """
    query = (
        select(audit_events.c.details)
        .where(audit_events.c.action == PRUNED)
        .order_by(audit_events.c.number.desc())
        .limit(1)
    )
    details = conn.execute(query).scalar()
    through = str(details.get("through", "")) if isinstance(details, dict) else ""
    return int(through) if through.isascii() and through.isdigit() and len(through) <= _MAX_DIGITS else 0


def begins_after(conn: Connection, size: int) -> bool:
    """
    Return whether the first events, so many, are gone because they had become too old.

    Tampering: an event that says so is not believed alone, since it may be one that was changed. The log must begin there.
    """
    removed = removed_through(conn)
    first = select(audit_events.c.number).order_by(audit_events.c.number).limit(1)
    return size < removed and conn.execute(first).scalar() == removed + 1


def _start_of(conn: Connection, removed: int) -> tuple[int, bytes]:
    """Return the number and hash from which the chain goes on; the hash is under that of the first event that is left."""
    if not removed:
        return 0, GENESIS
    query = select(audit_events.c.previous).where(audit_events.c.number == removed + 1)
    return removed, conn.execute(query).scalar() or GENESIS


def first_time(conn: Connection) -> datetime | None:
    """Return when the first event that is kept happened, None if there is none."""
    query = select(audit_events.c.at).order_by(audit_events.c.number).limit(1)
    return conn.execute(query).scalar()


def events_of(conn: Connection, actions: Sequence[str]) -> list[AuditEvent]:
    """Return every event with one of these actions, the oldest first."""
    query = (
        select(audit_events).where(audit_events.c.action.in_(list(actions))).order_by(audit_events.c.number)
    )
    return [from_row(AuditEvent, row) for row in conn.execute(query)]


def enrollments_with(
    conn: Connection, fingerprints: Collection[str], *, since: datetime, limit: int
) -> list[AuditEvent]:
    """
    Return the enrollments with an enrollment key, the latest first.

    Args:
        conn: A connection.
        fingerprints: Of its generations.
        since: Not the earlier ones.
        limit: At most so many.
    """
    query = (
        select(audit_events)
        .where(
            audit_events.c.action == "worker.enrolled",
            audit_events.c.at >= since,
            audit_events.c.details["enrolled_with"].as_string().in_(list(fingerprints)),
        )
        .order_by(audit_events.c.number.desc())
        .limit(limit)
    )
    return [from_row(AuditEvent, row) for row in conn.execute(query)]


def last_older_than(conn: Connection, at: datetime) -> int:
    """Return the number of the last event up to which all are older than a time, 0 if the first is not."""
    # Not the latest that is older: after a clock was set back, an event of today may have a time of last year.
    query = (
        select(audit_events.c.number).where(audit_events.c.at >= at).order_by(audit_events.c.number).limit(1)
    )
    younger = conn.execute(query).scalar()
    return last_number(conn) if younger is None else younger - 1


def remove_through(conn: Connection, number: int) -> None:
    """Remove the oldest events. The caller owes the event that says so, in the same transaction."""
    conn.execute(delete(audit_events).where(audit_events.c.number <= number))


def _with_breaks(
    rows: CursorResult[Any], between: Callable[[], None], on_done: Callable[[int], None]
) -> Iterator[ChainedAuditEvent]:
    done = 0
    for part in rows.partitions():
        yield from map(_chained, part)
        done += len(part)
        on_done(done)
        between()


def _unsound(problem: str) -> ChainReport:
    return ChainReport(ok=False, checked=0, head_number=0, head_hash=GENESIS, problem=problem)


def _in_order(conn: Connection) -> CursorResult[Any]:
    """Give the chain in batches: it may be longer than memory. To be closed, since the check ends at the first fault."""
    query = select(audit_events).order_by(audit_events.c.number)
    return conn.execute(query.execution_options(yield_per=_AT_ONCE))


def _has_valid_mac(row: Row[tuple[object, ...]], key: bytes) -> bool:
    return WrittenHead(row.number, row.hash, row.mac).is_written_with(key)


def _head_mac(number: int, head_hash: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"audit head" + number.to_bytes(8, "big") + head_hash, sha256)


def _chained_unwritten(row: Mapping[str, Any]) -> ChainedAuditEvent:
    event = AuditEvent(**{name: row[name] for name in AuditEvent.__struct_fields__})
    return ChainedAuditEvent(number=row["number"], event=event, previous=row["previous"], hash=row["hash"])


def _chained(row: Row[tuple[object, ...]]) -> ChainedAuditEvent:
    return ChainedAuditEvent(
        number=row.number, event=from_row(AuditEvent, row), previous=row.previous, hash=row.hash
    )
