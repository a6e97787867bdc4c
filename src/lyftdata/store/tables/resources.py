"""Table of resources, the services for which Workers may get tokens."""

from collections.abc import Collection, Iterator

import msgspec
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.records import ResourceRecord
from lyftdata.store.changes import ResourceChanged
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import resources
from lyftdata.store.writer.transaction import WriteTx


def insert_resource(tx: WriteTx, record: ResourceRecord) -> None:
    """
    Add a resource.

    Raises:
        ConflictError: `resource_name_taken`, `resource_audience_taken`.
    """
    if find_resource(tx.conn, record.name) is not None:
        raise ConflictError("resource_name_taken", f"There is a resource named '{record.name}' already.")
    _write(tx, record, insert(resources).values(to_row(record)))


def replace_resource(tx: WriteTx, record: ResourceRecord) -> None:
    """Replace a resource; raises ConflictError `resource_audience_taken`."""
    row = to_row(record)
    _write(tx, record, update(resources).where(resources.c.name == row.pop("name")).values(row))


def _write(tx: WriteTx, record: ResourceRecord, statement: object) -> None:
    try:
        tx.conn.execute(statement)  # type: ignore[call-overload]  # an insert or an update
    except IntegrityError as error:
        raise ConflictError(
            "resource_audience_taken", f"Another resource has the audience '{record.audience}' already."
        ) from error
    tx.changed(ResourceChanged(record.name, record))


def delete_resource(tx: WriteTx, name: str) -> ResourceRecord:
    """Remove a resource; raises NotFoundError."""
    record = get_resource(tx.conn, name)
    tx.conn.execute(delete(resources).where(resources.c.name == name))
    tx.changed(ResourceChanged(name, None))
    return record


def remove_workers(tx: WriteTx, worker_ids: Collection[str]) -> None:
    """Remove Workers' IDs from every resource that names them."""
    removed = frozenset(worker_ids)
    for record in list(all_resources(tx.conn)):
        left = [named for named in record.worker_ids if named not in removed]
        if len(left) < len(record.worker_ids):
            replace_resource(tx, msgspec.structs.replace(record, worker_ids=left))


def find_resource(conn: Connection, name: str) -> ResourceRecord | None:
    """Return the resource with this name, or None."""
    row = conn.execute(select(resources).where(resources.c.name == name)).first()
    return None if row is None else from_row(ResourceRecord, row)


def get_resource(conn: Connection, name: str) -> ResourceRecord:
    """Return the resource with this name; raises NotFoundError."""
    record = find_resource(conn, name)
    if record is None:
        raise NotFoundError("resource", name)
    return record


def all_resources(conn: Connection) -> Iterator[ResourceRecord]:
    """Iterate over every resource."""
    return (from_row(ResourceRecord, row) for row in conn.execute(select(resources)))
