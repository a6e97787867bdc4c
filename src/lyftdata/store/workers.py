"""Worker entries."""

from collections.abc import Collection, Iterator

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.records import Strategy, WorkerRecord
from lyftdata.store import api_keys
from lyftdata.store.changes import WorkerChanged
from lyftdata.store.engine import WriteTx
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import workers

# IDs are handed to the database in a list; above this the list is made a sub-select of all instead.
_MOST_IDS = 900


class Page(msgspec.Struct, frozen=True):
    """A page of Workers in order of ID; `next` is where the page behind it begins."""

    items: list[WorkerRecord]
    next: str | None
    total: int


def insert_worker(tx: WriteTx, record: WorkerRecord, *, unique_name: bool) -> None:
    """
    Add an entry.

    Args:
        tx: The transaction.
        record: The entry.
        unique_name: Whether a live entry of the same name stands in the way.

    Raises:
        ConflictError: `worker_id_taken`, `worker_name_taken`.
    """
    if find_worker(tx.conn, record.id) is not None:
        raise ConflictError("worker_id_taken", f"There is a Worker with the ID '{record.id}' already.")
    if unique_name:
        ensure_name_free(tx.conn, record.name)
    try:
        tx.conn.execute(insert(workers), to_row(record))
    except IntegrityError as error:
        raise ConflictError(
            "worker_id_taken", "There is a Worker with this ID or identity key already."
        ) from error
    tx.changed(WorkerChanged(record.id, record))


def ensure_name_free(conn: Connection, name: str, *, besides: str | None = None) -> None:
    """Raise ConflictError `worker_name_taken` if a live entry other than `besides` has the name."""
    query = select(workers.c.id).where(workers.c.name == name, workers.c.superseded_by.is_(None))
    taken = [row.id for row in conn.execute(query) if row.id != besides]
    if taken:
        raise ConflictError(
            "worker_name_taken",
            f"Worker '{taken[0]}' has the name '{name}' already.",
            hint="Choose another name, or rename or delete that Worker.",
        )


def replace_worker(tx: WriteTx, record: WorkerRecord) -> None:
    """Write an entry anew; raises NotFoundError if it is gone."""
    if tx.conn.execute(update(workers).where(workers.c.id == record.id).values(to_row(record))).rowcount != 1:
        raise NotFoundError("worker", record.id)
    tx.changed(WorkerChanged(record.id, record))


def delete_worker(tx: WriteTx, worker_id: str) -> WorkerRecord:
    """
    Remove an entry with its traces, and its ID from the keys issued for it.

    A key issued for this Worker alone is then a key for nobody: a new Worker under the old ID must not inherit it.

    Raises:
        NotFoundError: No such Worker.
    """
    record = get_worker(tx.conn, worker_id)
    tx.conn.execute(delete(workers).where(workers.c.id == worker_id))
    api_keys.remove_worker(tx, worker_id)
    tx.changed(WorkerChanged(worker_id, None))
    return record


def find_worker(conn: Connection, worker_id: str) -> WorkerRecord | None:
    """Return the entry with this ID, or None."""
    return _one(conn, workers.c.id == worker_id)


def get_worker(conn: Connection, worker_id: str) -> WorkerRecord:
    """Return the entry with this ID; raises NotFoundError."""
    record = find_worker(conn, worker_id)
    if record is None:
        raise NotFoundError("worker", worker_id)
    return record


def find_by_thumbprint(conn: Connection, thumbprint: str) -> WorkerRecord | None:
    """Return the entry with this identity key, or None."""
    return _one(conn, workers.c.thumbprint == thumbprint)


def find_live_by_name(conn: Connection, name: str) -> WorkerRecord | None:
    """Return the entry that holds a name and is not superseded: the latest, if the policy allowed several."""
    query = select(workers).where(workers.c.name == name, workers.c.superseded_by.is_(None))
    row = conn.execute(query.order_by(workers.c.created_at.desc(), workers.c.id)).first()
    return None if row is None else _record(row)


def all_workers(conn: Connection) -> Iterator[WorkerRecord]:
    """Iterate over every entry."""
    return map(_record, conn.execute(select(workers)))


def list_workers(
    conn: Connection,
    *,
    q: str | None = None,
    strategy: Strategy | None = None,
    label: str | None = None,
    ids: Collection[str] | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Page:
    """
    Return a page of entries, in order of ID.

    Args:
        conn: A reading connection.
        q: Part of a name or an ID, upper or lower case.
        strategy: Only this one.
        label: `key` or `key=value`.
        ids: Only these; None for all.
        limit: Entries a page.
        after: `next` of the page before.
    """
    wanted = _filter(select(workers), q=q, strategy=strategy)
    if ids is not None and len(ids) <= _MOST_IDS:
        wanted = wanted.where(workers.c.id.in_(ids))
        ids = None
    if label is None and ids is None:
        return _page_by_database(conn, wanted, limit=limit, after=after)
    found = (_record(row) for row in conn.execute(wanted.order_by(workers.c.id)))
    matching = [r for r in found if (ids is None or r.id in ids) and (label is None or _has_label(r, label))]
    following = [record for record in matching if after is None or record.id > after]
    return _page(following[: limit + 1], limit=limit, total=len(matching))


def _page_by_database(
    conn: Connection, wanted: Select[tuple[object, ...]], *, limit: int, after: str | None
) -> Page:
    total = conn.execute(select(func.count()).select_from(wanted.subquery())).scalar_one()
    following = wanted if after is None else wanted.where(workers.c.id > after)
    rows = conn.execute(following.order_by(workers.c.id).limit(limit + 1))
    return _page([_record(row) for row in rows], limit=limit, total=total)


def _page(found: list[WorkerRecord], *, limit: int, total: int) -> Page:
    items = found[:limit]
    return Page(items, items[-1].id if len(found) > limit else None, total)


def _filter(
    query: Select[tuple[object, ...]], *, q: str | None, strategy: Strategy | None
) -> Select[tuple[object, ...]]:
    if q:
        query = query.where(
            or_(workers.c.name.icontains(q, autoescape=True), workers.c.id.icontains(q, autoescape=True))
        )
    if strategy is not None:
        query = query.where(workers.c.strategy == strategy.value)
    return query


def _has_label(record: WorkerRecord, label: str) -> bool:
    key, separator, value = label.partition("=")
    return record.labels.get(key) == value if separator else key in record.labels


def _one(conn: Connection, condition: ColumnElement[bool]) -> WorkerRecord | None:
    row = conn.execute(select(workers).where(condition)).first()
    return None if row is None else _record(row)


def _record(row: Row[tuple[object, ...]]) -> WorkerRecord:
    return from_row(WorkerRecord, row)
