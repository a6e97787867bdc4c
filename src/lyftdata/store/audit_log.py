"""
The audit log: append-only.

The head row names the last event and has its own keyed hash, so that truncating the log is detected like any other removal. A
Server remembers the head and compares it with the row before each batch of events: other Servers, or a command on the host, may
have appended in between. If the row is older than what the Server remembers, the log was truncated and is never sound again. If the
Server trusted the row alone, its next event would hide the gap.
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

    `sound` becomes False once the head is found to be removed or changed, and stays False: every head written afterwards carries
    no valid hash, so that `verify` keeps reporting it no matter how many events follow.
    """

    number: int
    hash: bytes
    sound: bool = True


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which events to return; a field that is None or empty matches every event.

    `action` may end with `*`, which matches by prefix. A Worker as `subject` (`worker:ID`) also matches the incident cut-offs that included
    it. `actor` is an operator's name, or as the log has it: `server`, `api_token:NAME`, `worker:ID`. `since` is inclusive, `until` exclusive.
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
    """Write the head of an empty log, in the transaction that creates the tables: a log without a head was tampered with."""
    write_head(conn, Head(0, GENESIS), key=key)


def load_head(conn: Connection, *, key: bytes) -> Head:
    """Return where the chain continues, even if the log was tampered with: the Server must be able to start."""
    row = conn.execute(select(audit_head)).first()
    # Numbers in use are never reused, not even those of events that somebody inserted into the database.
    last = last_number(conn)
    if row is None:
        return Head(last, GENESIS, sound=False)
    return Head(max(row.number, last), row.hash, sound=_has_valid_mac(row, key))


def follow(conn: Connection, *, known: Head, key: bytes) -> Head:
    """
    Return where the chain continues, in a database to which others append too.

    The log is compared with what this Server remembers: if it ends before the last known event, or has a different event under that
    number, it was rolled back or changed, and is never sound again.
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
    """Return whether an event after this number rotated the secret key."""
    query = (
        select(audit_events.c.number)
        .where(audit_events.c.action == KEY_ROTATED, audit_events.c.number > after)
        .limit(1)
    )
    return conn.execute(query).first() is not None


def rehash(conn: Connection, *, key: bytes, on_progress: OnProgress = ignore_progress) -> Head:
    """
    Replace the hash of every event by one under another key; return the new end of the chain.

    The caller has verified the chain, and must call `write_head`. The hash that precedes the first remaining event is kept: its
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
    """Return whether a Server has found the log changed and has recorded that."""
    return conn.execute(select(audit_head.c.mac)).scalar() == _NOT_OURS


def has(conn: Connection, head: Head) -> bool:
    """Return whether the log still holds the event that was once its end."""
    if head.number == 0:
        return True
    found = conn.execute(select(audit_events.c.hash).where(audit_events.c.number == head.number)).scalar()
    return found is not None and hmac.compare_digest(found, head.hash)


def write_head(conn: Connection, head: Head, *, key: bytes) -> None:
    """Write the end of the chain; once per transaction, after its events."""
    mac = _head_mac(head.number, head.hash, key) if head.sound else _NOT_OURS
    row = {"id": _HEAD_ID, "number": head.number, "hash": head.hash, "mac": mac}
    dialect.upsert(conn, audit_head, [row])


def link(event: AuditEvent, *, head: Head, key: bytes) -> tuple[dict[str, Any], Head]:
    """Return the row for an event that follows a head, and the resulting head; writes nothing."""
    number = head.number + 1
    digest = chain_hash(event, number=number, previous=head.hash, key=key)
    row = to_row(event) | {"number": number, "previous": head.hash, "hash": digest}
    return row, Head(number, digest, sound=head.sound)


def append(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """
    Append events, as returned by `link`.

    The caller's transaction makes them durable together with the changes they describe; the caller must call `write_head`.
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
    """Return up to `limit` events, the latest first; `before` is the number of the last event of the previous page."""
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
        # An operator's name needs no prefix; other actors are named as in the log.
        yield table.actor.in_([wanted.actor, f"operator:{wanted.actor}"])
    if wanted.since is not None:
        yield table.at >= wanted.since
    if wanted.until is not None:
        yield table.at < wanted.until


def list_of_actions(
    conn: Connection, actions: Collection[str], *, since: datetime, limit: int
) -> list[ChainedAuditEvent]:
    """Return up to `limit` events with one of these actions since a time, the latest first."""
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
    """Return the events about a subject with one of these actions after this number, the oldest first; `unwritten` as in `count_by`."""
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
    Return how many Workers these actors have changed since a time, one by one or in the cut-off of an incident.

    Changes that a second operator confirmed are not counted.

    Args:
        conn: A connection.
        actors: As the log names them.
        action: The audit action about one Worker.
        cut_off: Name of the same action in the details of a cut-off event.
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
    """Yield the condition for cut-offs that included a Worker; the subject of such an event is the key or the address."""
    kind, _, worker_id = subject.partition(":")
    if kind != "worker" or not worker_id:
        return
    # The list is separated by spaces, and no ID contains a space.
    for name in ("workers", "by_key"):
        ids = literal(" ") + audit_events.c.details[name].as_string() + literal(" ")
        yield and_(audit_events.c.action == CUT_OFF, ids.contains(f" {worker_id} ", autoescape=True))


def known_actions(conn: Connection) -> list[str]:
    """Return every action in the log, in alphabetical order."""
    # One index step for each action: SELECT DISTINCT would read every event of a log of millions.
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
    """Return the events after this number, the oldest first."""
    query = select(audit_events).where(audit_events.c.number > after, *_conditions(wanted))
    query = query.order_by(audit_events.c.number).limit(limit)
    return [_chained(row) for row in conn.execute(query)]


def workers_changed_after(conn: Connection, *, after: int) -> set[str]:
    """Return the IDs of the Workers that an operator or an API token has changed since an event."""
    table = audit_events.c
    in_person = or_(table.actor.startswith("operator:"), table.actor.startswith("api_token:"))
    one = select(table.subject).where(
        table.number > after,
        table.subject.startswith("worker:"),
        table.action.startswith("worker."),
        in_person,
    )
    found = {str(subject).removeprefix("worker:") for subject in conn.execute(one.distinct()).scalars()}
    # A cut-off names all of its Workers, including those that were already disabled.
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
    Check every link of the chain, its end, and that a Server wrote the head.

    Args:
        conn: A read connection.
        key: The key of the chain.
        written: Number of an event known to be written: a log that ends before it was rolled back, even if its head is
          an old one that a Server wrote.
        between: Called after every thousand events; an exception from it aborts the check.
        observe: Receives the events as they are read, and must yield them.
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
    Return the number of the last event that was removed because of its age, 0 if none was.

    The latest `audit_log.pruned` event says so. It is part of the chain like any other event, so that only a Server can have written it;
    without it the chain has a gap.
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
    Return whether the first `size` events were removed because of their age.

    Tampering: the event that records the removal is not trusted alone, since it may have been changed. The log must really begin there.
    """
    removed = removed_through(conn)
    first = select(audit_events.c.number).order_by(audit_events.c.number).limit(1)
    return size < removed and conn.execute(first).scalar() == removed + 1


def _start_of(conn: Connection, removed: int) -> tuple[int, bytes]:
    """Return the number and hash from which the chain continues; the hash is protected by that of the first remaining event."""
    if not removed:
        return 0, GENESIS
    query = select(audit_events.c.previous).where(audit_events.c.number == removed + 1)
    return removed, conn.execute(query).scalar() or GENESIS


def first_time(conn: Connection) -> datetime | None:
    """Return the time of the oldest remaining event, None if there is none."""
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
    Return enrollments with an enrollment key, the latest first.

    Args:
        conn: A connection.
        fingerprints: Of the key's generations.
        since: Earlier ones are left out.
        limit: How many to return at most.
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
    """Return the number up to which every event is older than a time, 0 if the first one is not."""
    # Not simply the latest older event: after a clock was set back, an event of today may have a time of last year.
    query = (
        select(audit_events.c.number).where(audit_events.c.at >= at).order_by(audit_events.c.number).limit(1)
    )
    younger = conn.execute(query).scalar()
    return last_number(conn) if younger is None else younger - 1


def remove_through(conn: Connection, number: int) -> None:
    """Remove the oldest events. The caller must append the event that records it, in the same transaction."""
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
    """Yield the chain in batches: it may not fit into memory. The caller must close it, since the check stops at the first fault."""
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
