"""Table of the last few origins of each Worker's tokens: network, credential, audience and time."""

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, Update, bindparam, delete, select, update

from lyftdata.core.records import TokenOriginRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import UtcDateTime, token_origins, workers
from lyftdata.store.writer.transaction import WriteTx

KEPT_OF_A_WORKER = 16
_ALARMS_KEPT_LONGER = KEPT_OF_A_WORKER // 2
_BATCH = 400

_Key = tuple[str, str, str, str]


def merge_origins(tx: WriteTx, origins: Sequence[TokenOriginRecord]) -> None:
    """Merge origins into the stored ones, and remove the oldest of those Workers; those of deleted Workers are left out."""
    for start in range(0, len(origins), _BATCH):
        _merge(tx.conn, origins[start : start + _BATCH])


def list_origins(conn: Connection, worker_ids: Collection[str]) -> list[TokenOriginRecord]:
    """Return the origins of these Workers, the latest first."""
    return _sorted(_in_batches(conn, token_origins.c.worker_id, worker_ids))


def list_by_credential(
    conn: Connection, credentials: Collection[str], *, since: datetime
) -> list[TokenOriginRecord]:
    """Return the origins of tokens issued for these credentials since a time, the latest first."""
    found = _in_batches(conn, token_origins.c.credential, credentials, token_origins.c.last_at >= since)
    return _sorted(found)


def list_since(conn: Connection, since: datetime) -> list[TokenOriginRecord]:
    """Return every origin of a token issued since a time, the latest first."""
    rows = conn.execute(select(token_origins).where(token_origins.c.last_at >= since))
    return _sorted(from_row(TokenOriginRecord, row) for row in rows)


def list_elsewhere(conn: Connection, *, since: datetime, limit: int) -> list[TokenOriginRecord]:
    """Return origins of tokens issued since a time while the Worker was connected from another network, the latest first."""
    query = select(token_origins).where(token_origins.c.elsewhere_at >= since)
    rows = conn.execute(query.order_by(token_origins.c.elsewhere_at.desc()).limit(limit))
    return [from_row(TokenOriginRecord, row) for row in rows]


def _merge(conn: Connection, added: Sequence[TokenOriginRecord]) -> None:
    """Merge origins; almost all exist already, and only their time and address change."""
    known = _known_since(conn, {origin.worker_id for origin in added})
    touched: list[TokenOriginRecord] = []
    rest: list[TokenOriginRecord] = []
    for origin in added:
        since = known.get(_key(origin))
        is_touched = since is not None and since <= origin.first_at and origin.elsewhere_at is None
        (touched if is_touched else rest).append(origin)
    if touched:
        dialect.execute_many(conn, _touch(), [_touch_parameters(origin) for origin in touched])
    if rest:
        _merge_others(conn, rest)


def _known_since(conn: Connection, worker_ids: Collection[str]) -> dict[_Key, datetime]:
    query = select(*token_origins.primary_key, token_origins.c.first_at)
    rows = conn.execute(query.where(token_origins.c.worker_id.in_(sorted(worker_ids))))
    return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}


@functools.cache
def _touch() -> Update:
    key = [column == bindparam(f"key_{column.name}") for column in token_origins.primary_key]
    is_later = token_origins.c.last_at < bindparam("at", type_=UtcDateTime)
    values = {"last_at": bindparam("at", type_=UtcDateTime), "address": bindparam("from_address")}
    return update(token_origins).where(*key, is_later).values(values)


def _touch_parameters(origin: TokenOriginRecord) -> dict[str, str | datetime]:
    key = zip(token_origins.primary_key, _key(origin), strict=True)
    return {
        "at": origin.last_at,
        "from_address": origin.address,
        **{f"key_{column.name}": value for column, value in key},
    }


def _merge_others(conn: Connection, added: Sequence[TokenOriginRecord]) -> None:
    ids = sorted({origin.worker_id for origin in added})
    alive = set(conn.execute(select(workers.c.id).where(workers.c.id.in_(ids))).scalars())
    kept: dict[str, dict[_Key, TokenOriginRecord]] = defaultdict(dict)
    for origin in _in_batches(conn, token_origins.c.worker_id, ids):
        kept[origin.worker_id][_key(origin)] = origin
    merged: dict[_Key, TokenOriginRecord] = {}
    for origin in added:
        if origin.worker_id in alive:
            of_worker = kept[origin.worker_id]
            merged[_key(origin)] = of_worker[_key(origin)] = _joined(of_worker.get(_key(origin)), origin)
    surplus = [_key(origin) for of_worker in kept.values() for origin in _oldest(of_worker.values())]
    if rows := [to_row(origin) for key, origin in merged.items() if key not in set(surplus)]:
        dialect.upsert(conn, token_origins, rows)
    for key in surplus:
        columns = zip(token_origins.primary_key, key, strict=True)
        conn.execute(delete(token_origins).where(*(column == value for column, value in columns)))


def _joined(before: TokenOriginRecord | None, after: TokenOriginRecord) -> TokenOriginRecord:
    """Merge two Servers' records of one origin."""
    if before is None:
        return after
    later = after if after.last_at >= before.last_at else before
    marked = [origin for origin in (before, after) if origin.elsewhere_at is not None]
    last_mark = max(marked, key=_order, default=later)
    return msgspec.structs.replace(
        later,
        first_at=min(before.first_at, after.first_at),
        elsewhere_at=last_mark.elsewhere_at,
        session_address=last_mark.session_address,
    )


def _oldest(of_worker: Collection[TokenOriginRecord]) -> list[TokenOriginRecord]:
    """
    Return the origins beyond the limit, to be removed.

    Eviction: a thief's origin must not be pushed out by the Worker's own. Nor may a thief fill the limit with alarms, after which no
    other origin would be kept: only half of it is reserved for alarms.
    """
    alarms = sorted((one for one in of_worker if one.elsewhere_at is not None), key=_order)
    kept_longer = {_key(one) for one in alarms[-_ALARMS_KEPT_LONGER:]}
    by_age = sorted(of_worker, key=lambda origin: (_key(origin) in kept_longer, origin.last_at))
    return by_age[:-KEPT_OF_A_WORKER]


def _order(origin: TokenOriginRecord) -> datetime:
    return origin.elsewhere_at or origin.last_at


def _sorted(origins: Iterable[TokenOriginRecord]) -> list[TokenOriginRecord]:
    return sorted(sorted(origins, key=_key), key=lambda origin: origin.last_at, reverse=True)


def _key(origin: TokenOriginRecord) -> _Key:
    return origin.worker_id, origin.network, origin.credential, origin.audience


def _in_batches(
    conn: Connection,
    column: ColumnElement[str],
    values: Collection[str],
    *conditions: ColumnElement[bool],
) -> list[TokenOriginRecord]:
    wanted = sorted(values)
    found: list[TokenOriginRecord] = []
    for start in range(0, len(wanted), _BATCH):
        query = select(token_origins).where(column.in_(wanted[start : start + _BATCH]), *conditions)
        found += [from_row(TokenOriginRecord, row) for row in conn.execute(query)]
    return found
