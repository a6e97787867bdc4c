"""
The change log that Servers share: rows that name what was changed, numbered in commit order.

A row says which Worker or key was changed, not how: a reader loads its current state. So a reader that lags sees the latest
state at once, several changes of one thing cost one query, and nothing is stored twice.

Old rows are pruned, the oldest first. A reader may lag behind that, if it was stopped or lost the database for a long time: it finds
that the row at its position is gone, and reloads everything.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from lyftdata.store.changes import (
    AllChanged,
    ApiKeyChanged,
    Broadcast,
    Change,
    EnrollmentKeyChanged,
    FleetPolicyChanged,
    PresenceChanged,
    ResourceChanged,
    SigningKeysChanged,
    TokenRevoked,
    WorkerChanged,
)
from lyftdata.store.schema import changes as table
from lyftdata.store.tables import (
    api_keys,
    enrollment_keys,
    fleet_policy,
    presence,
    resources,
    revoked_tokens,
    servers,
    workers,
)
from lyftdata.store.writer.transaction import WriteTx

_MAX_AT_ONCE = 2_000
_LONG_AGO = datetime.fromtimestamp(0, UTC)


class Cursor(msgspec.Struct, frozen=True):
    """A reader's position. It includes the time, since after the database has gone back, the same number may belong to another row."""

    number: int = 0
    at: datetime | None = None


class ChangeBatch(msgspec.Struct, frozen=True, kw_only=True):
    """
    The changes after a reader's position.

    Args:
        until: The position reached.
        changes: The current state of what was changed; applying one twice does no harm.
        broadcasts: Messages to deliver exactly once, with their numbers.
        is_all: Whether this is the whole state, because the single changes are no longer known.
    """

    until: Cursor
    changes: list[Change] = []
    broadcasts: list[tuple[int, Broadcast]] = []
    is_all: bool = False


def begin(conn: Connection) -> None:
    """Write a first row, which changes nothing, if there is none: every reader needs a row to start from."""
    if position(conn) == Cursor():
        record(conn, [Broadcast("begun", {})], server_id="")


def position(conn: Connection) -> Cursor:
    """Return the position of the last published change."""
    row = conn.execute(select(table.c.seq, table.c.at).order_by(table.c.seq.desc()).limit(1)).first()
    return Cursor() if row is None else Cursor(row.seq, row.at)


def record(conn: Connection, changes: Sequence[Change], *, server_id: str) -> Cursor:
    """Record changes for the other Servers; return the position of the last one."""
    rows = [{"server_id": server_id, **_row(change)} for change in changes]
    written = conn.execute(insert(table).returning(table.c.seq, table.c.at), rows).all()
    return max((Cursor(row.seq, row.at) for row in written), key=lambda mark: mark.number)


def read(conn: Connection, *, after: Cursor) -> ChangeBatch:
    """
    Return what was changed after a position, in its current state; `until` equals `after` once the end is reached.

    Reads a bounded number of rows: call it again until nothing is left.
    """
    query = select(table.c.seq, table.c.at, table.c.kind, table.c.key, table.c.body)
    found = query.where(table.c.seq >= after.number).order_by(table.c.seq).limit(_MAX_AT_ONCE + 1)
    # The query includes the row at the reader's position: rows are pruned from the oldest on, so if it is there, no later row
    # is missing. It is also missing if the database has gone back (to a standby that lagged behind).
    known, rows = _split(conn.execute(found).all(), after)
    if not known:
        return _everything(conn)
    wanted: dict[str, dict[str, None]] = {}
    broadcasts: list[tuple[int, Broadcast]] = []
    for row in rows:
        if row.kind == _BROADCAST:
            broadcasts.append((row.seq, Broadcast(row.key, row.body)))
        else:
            wanted.setdefault(row.kind, {})[row.key] = None
    until = Cursor(rows[-1].seq, rows[-1].at) if rows else after
    return ChangeBatch(until=until, changes=_looked_up(conn, wanted), broadcasts=broadcasts)


def _split(found: Sequence[Any], after: Cursor) -> tuple[bool, Sequence[Any]]:
    """Return whether the row at the reader's position is there, and the rows after it."""
    if not found:
        # No change had been published when the reader began, nor since.
        return after == Cursor(), found
    return Cursor(found[0].seq, found[0].at) == after, found[1:]


def _everything(conn: Connection) -> ChangeBatch:
    # The position first: a change made during the reads below is then read again later.
    until = position(conn)
    whole = AllChanged(
        workers=list(workers.all_workers(conn)),
        api_keys=list(api_keys.all_api_keys(conn)),
        enrollment_keys=list(enrollment_keys.all_enrollment_keys(conn)),
        resources=list(resources.all_resources(conn)),
        revoked_tokens=revoked_tokens.list_unexpired(conn, _LONG_AGO),
        fleet_policy=fleet_policy.find_policy(conn),
        presence=list(presence.list_all(conn)),
    )
    return ChangeBatch(until=until, changes=[whole], is_all=True)


def prune(tx: WriteTx, *, older_than: timedelta) -> None:
    """Delete rows that every Server has long read."""
    # By number, not by time: a row has the time at which its transaction began, and no row may be deleted before one with a
    # lower number. The last of the old rows stays: it is the position of a Server that has read everything.
    last = select(func.max(table.c.seq)).where(table.c.at < servers.time_ago(older_than)).scalar_subquery()
    tx.conn.execute(delete(table).where(table.c.seq < last))


_BROADCAST = "told"
_OF_ONE_THING = {SigningKeysChanged: "signing_keys", FleetPolicyChanged: "fleet_policy"}


def _row(change: Change) -> dict[str, object]:
    """Return the row for a change: its kind, and what it is about."""
    body: dict[str, object] | None = None
    match change:
        case WorkerChanged():
            kind, key = "worker", change.worker_id
        case ApiKeyChanged():
            kind, key = "api_key", change.public_id
        case EnrollmentKeyChanged():
            kind, key = "enrollment_key", change.public_id
        case ResourceChanged():
            kind, key = "resource", change.name
        case TokenRevoked():
            kind, key = "token", change.jti
        case PresenceChanged():
            kind, key = "presence", change.worker_id
        case SigningKeysChanged() | FleetPolicyChanged():
            kind, key = _OF_ONE_THING[type(change)], ""
        case Broadcast():
            kind, key, body = _BROADCAST, change.topic, change.body
        case AllChanged():
            msg = "only found by reading"
            raise ValueError(msg)
        case _:
            assert_never(change)
    return {"kind": kind, "key": key, "body": body}


def _looked_up(conn: Connection, wanted: dict[str, dict[str, None]]) -> list[Change]:
    """Return the current state of what was changed. Kinds written by a newer version are ignored."""
    found: list[Change] = []
    if ids := wanted.get("worker"):
        entries = workers.find_workers(conn, ids)
        found += [WorkerChanged(key, entries.get(key)) for key in ids]
    if ids := wanted.get("api_key"):
        keys = api_keys.find_api_keys(conn, ids)
        found += [ApiKeyChanged(key, keys.get(key)) for key in ids]
    if ids := wanted.get("enrollment_key"):
        secrets = enrollment_keys.find_enrollment_keys(conn, ids)
        found += [EnrollmentKeyChanged(key, secrets.get(key)) for key in ids]
    if ids := wanted.get("resource"):
        found += [ResourceChanged(key, resources.find_resource(conn, key)) for key in ids]
    if "fleet_policy" in wanted:
        found.append(FleetPolicyChanged(fleet_policy.find_policy(conn)))
    if ids := wanted.get("token"):
        found += [TokenRevoked(jti, ends) for jti, ends in revoked_tokens.find_revoked(conn, ids).items()]
    if ids := wanted.get("presence"):
        there = presence.find_many(conn, ids)
        found += [PresenceChanged(key, there.get(key)) for key in ids]
    if "signing_keys" in wanted:
        found.append(SigningKeysChanged())
    return found
