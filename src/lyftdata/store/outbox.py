"""
What each Server tells the others: rows that name what has changed, numbered in the order of the commits.

A row says which Worker or key has changed, not how: whoever reads it reads the thing itself, as it is by then. So a
reader that is late sees the latest state at once, several changes of one thing cost one look, and nothing is kept twice.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

from sqlalchemy import Connection, delete, func, insert, select

from lyftdata.store import api_keys, dialect, presence, resources, revoked_tokens, servers, workers
from lyftdata.store.changes import (
    ApiKeyChanged,
    Change,
    PresenceChanged,
    ResourceChanged,
    SigningKeysChanged,
    TokenRevoked,
    Told,
    WorkerChanged,
)
from lyftdata.store.schema import changes as table
from lyftdata.store.transaction import WriteTx

_MOST_AT_ONCE = 2_000


def position(conn: Connection) -> int:
    """Return the number of the last change that was told of."""
    return int(conn.execute(select(func.max(table.c.seq))).scalar() or 0)


def record(conn: Connection, changes: Sequence[Change], *, server_id: str) -> int:
    """Write changes down for the other Servers; return the number of the last."""
    rows = [{"server_id": server_id, **_row(change)} for change in changes]
    numbers = conn.execute(insert(table).returning(table.c.seq), rows).scalars()
    dialect.tell_others(conn)
    return int(max(numbers))


def read(conn: Connection, *, after: int) -> tuple[list[Change], int]:
    """
    Return what was changed behind a number, with what it means by now, and the number reached: `after` at the end.

    As much as is good to be looked up at once: whoever wants all asks again until nothing is left.
    """
    query = select(table.c.seq, table.c.kind, table.c.key, table.c.body)
    rows = conn.execute(query.where(table.c.seq > after).order_by(table.c.seq).limit(_MOST_AT_ONCE)).all()
    wanted: dict[str, dict[str, None]] = {}
    told: list[Change] = []
    for row in rows:
        if row.kind == _TOLD:
            told.append(Told(row.key, row.body))
        else:
            wanted.setdefault(row.kind, {})[row.key] = None
    return [*_looked_up(conn, wanted), *told], rows[-1].seq if rows else after


def prune(tx: WriteTx, *, older_than: timedelta) -> None:
    """Drop what every Server has long read."""
    # The last row stays, so that numbers are never seen to fall.
    last = select(func.max(table.c.seq)).scalar_subquery()
    tx.conn.execute(delete(table).where(table.c.at < servers.ago(older_than), table.c.seq < last))


_TOLD = "told"


def _row(change: Change) -> dict[str, object]:
    """Return the kind of a change, and what it is about."""
    body: dict[str, object] | None = None
    match change:
        case WorkerChanged():
            kind, key = "worker", change.worker_id
        case ApiKeyChanged():
            kind, key = "api_key", change.public_id
        case ResourceChanged():
            kind, key = "resource", change.name
        case TokenRevoked():
            kind, key = "token", change.jti
        case PresenceChanged():
            kind, key = "presence", change.worker_id
        case SigningKeysChanged():
            kind, key = "signing_keys", ""
        case Told():
            kind, key, body = _TOLD, change.topic, change.body
        case _:
            assert_never(change)
    return {"kind": kind, "key": key, "body": body}


def _looked_up(conn: Connection, wanted: dict[str, dict[str, None]]) -> list[Change]:
    """Return what was changed as it is now. Kinds that a newer version writes are not ours to understand."""
    found: list[Change] = []
    if ids := wanted.get("worker"):
        entries = workers.find_workers(conn, ids)
        found += [WorkerChanged(key, entries.get(key)) for key in ids]
    if ids := wanted.get("api_key"):
        keys = api_keys.find_api_keys(conn, ids)
        found += [ApiKeyChanged(key, keys.get(key)) for key in ids]
    if ids := wanted.get("resource"):
        found += [ResourceChanged(key, resources.find_resource(conn, key)) for key in ids]
    if ids := wanted.get("token"):
        found += [TokenRevoked(jti, ends) for jti, ends in revoked_tokens.find_revoked(conn, ids).items()]
    if ids := wanted.get("presence"):
        there = presence.find_many(conn, ids)
        found += [PresenceChanged(key, there.get(key)) for key in ids]
    if "signing_keys" in wanted:
        found.append(SigningKeysChanged())
    return found
