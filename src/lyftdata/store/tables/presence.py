"""Table of which Worker is connected to which Server, if there are several Servers (PostgreSQL)."""

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update

from lyftdata.core.records import PresenceRecord, PresenceState
from lyftdata.store.changes import PresenceChanged
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import presence, workers
from lyftdata.store.tables import servers
from lyftdata.store.writer.transaction import WriteTx

_BATCH = 500
_INSERT = presence.insert().values(state_since=servers.now())
_UPDATE_CREDENTIAL = (
    update(presence)
    .where(presence.c.worker_id == bindparam("id"))
    .values(credential=bindparam("by"), address=bindparam("from"))
)


def claim_slots(
    tx: WriteTx, records: Sequence[PresenceRecord], *, dead_after: timedelta
) -> list[PresenceRecord]:
    """
    Claim each Worker's slot for a Server, unless another boot of it is connected to another Server.

    If two Servers claim the slot for two boots of one Worker at once, one of them gets it. The size of the batch does not affect any
    result, only the number of statements.

    Args:
        tx: The transaction.
        records: The sessions that begin; a session of the same boot moves here.
        dead_after: A Server without a heartbeat for that long holds no slots.

    Returns:
        For each, the session that holds the slot: another boot's, or the given one, with the time since which it has been connected
        to any Server.
    """
    holders = find_many(tx.conn, {record.worker_id for record in records})
    find_live_servers = functools.cache(lambda: servers.list_live(tx.conn, silent_for=dead_after))
    results: list[PresenceRecord] = []
    given: dict[str, PresenceRecord] = {}
    for record in records:
        holder = given.get(record.worker_id) or holders.get(record.worker_id)
        if holder is not None and _competes(holder, record) and holder.server_id in find_live_servers():
            results.append(holder)
            continue
        given[record.worker_id] = record if holder is None else _moved(record, holder)
        results.append(given[record.worker_id])
    _write(tx, list(given.values()))
    return results


def _competes(holder: PresenceRecord, record: PresenceRecord) -> bool:
    """Return whether a session keeps another one out if its Server is alive: it is connected, of another boot, to another Server."""
    return (
        holder.boot_id != record.boot_id
        # The claiming Server knows the state of its own sessions better than this row.
        and holder.server_id != record.server_id
        and holder.state is PresenceState.CONNECTED
    )


def _moved(record: PresenceRecord, holder: PresenceRecord) -> PresenceRecord:
    """
    Keep the session's start time if it has moved here from another Server.

    The claiming Server may not know of it yet: a Worker that has just connected may reach it with its second poll first.
    """
    goes_on = holder.boot_id == record.boot_id and holder.state is not PresenceState.AWAITED
    is_elsewhere = holder.server_id != record.server_id
    return msgspec.structs.replace(record, since=holder.since) if goes_on and is_elsewhere else record


def reclaim_slots(tx: WriteTx, records: Sequence[PresenceRecord]) -> None:
    """
    Record again that Workers are connected to a Server, except those connected to another; one record per Worker.

    For a Server that was alive but declared dead: its Workers were marked as awaited, or already forgotten.
    """
    holders = find_many(tx.conn, [record.worker_id for record in records])
    _write(tx, [record for record in records if _is_missing(record, holders.get(record.worker_id))])


def _is_missing(record: PresenceRecord, holder: PresenceRecord | None) -> bool:
    return holder is None or (holder.server_id == record.server_id and holder != record)


def _write(tx: WriteTx, records: Sequence[PresenceRecord]) -> None:
    """Write where Workers are connected, one record each; Workers deleted meanwhile get no row."""
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        ids = [record.worker_id for record in batch]
        known = set(tx.conn.execute(select(workers.c.id).where(workers.c.id.in_(ids))).scalars())
        written = [record for record in batch if record.worker_id in known]
        if not written:
            continue
        tx.conn.execute(delete(presence).where(presence.c.worker_id.in_(known)))
        tx.conn.execute(_INSERT, [to_row(record) for record in written])
        for record in written:
            tx.changed(PresenceChanged(record.worker_id, record))


def set_state(tx: WriteTx, worker_ids: Collection[str], state: PresenceState, *, server_id: str) -> None:
    """Set the state of Workers connected to a Server, except those that have moved to another."""
    wanted = sorted(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        of_server = _of_server(wanted[start : start + _BATCH], server_id)
        values = {"state": state.value, "state_since": servers.now()}
        changed = update(presence).where(of_server).values(values).returning(presence.c.worker_id)
        _publish_changes(tx, tx.conn.execute(changed).scalars().all())


def update_credentials(tx: WriteTx, used: Mapping[str, tuple[str, str]], *, server_id: str) -> None:
    """
    Update the credentials of Workers connected to a Server, except those that have moved to another.

    Args:
        tx: The transaction.
        used: Credential and address, by Worker ID.
        server_id: The Server.
    """
    wanted = sorted(used)
    for start in range(0, len(wanted), _BATCH):
        of_server = _of_server(wanted[start : start + _BATCH], server_id)
        here = list(tx.conn.execute(select(presence.c.worker_id).where(of_server)).scalars())
        if here:
            rows = [
                {"id": worker_id, "by": used[worker_id][0], "from": used[worker_id][1]} for worker_id in here
            ]
            tx.conn.execute(_UPDATE_CREDENTIAL, rows)
            _publish_changes(tx, here)


def remove(tx: WriteTx, worker_ids: Collection[str], *, server_id: str) -> None:
    """Remove Workers that have disconnected from a Server; those that have moved to another keep their row."""
    wanted = sorted(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        of_server = _of_server(wanted[start : start + _BATCH], server_id)
        removed = delete(presence).where(of_server).returning(presence.c.worker_id)
        _publish_changes(tx, tx.conn.execute(removed).scalars().all())


def mark_awaited(tx: WriteTx, server_id: str) -> list[str]:
    """Mark the Workers of a dead Server as awaited at its peers; return their IDs."""
    query = select(presence.c.worker_id).where(
        presence.c.server_id == server_id, presence.c.state != PresenceState.AWAITED.value
    )
    ids = list(tx.conn.execute(query).scalars())
    set_state(tx, ids, PresenceState.AWAITED, server_id=server_id)
    return ids


def expire_awaited(tx: WriteTx, *, after: timedelta) -> None:
    """Remove awaited Workers that have not reconnected within a time."""
    overdue = (presence.c.state == PresenceState.AWAITED.value) & (
        presence.c.state_since <= servers.time_ago(after)
    )
    removed = delete(presence).where(overdue).returning(presence.c.worker_id)
    _publish_changes(tx, tx.conn.execute(removed).scalars().all())


def count_awaited(conn: Connection) -> int:
    """Return how many Workers are awaited: their Server is dead, and they have not reconnected."""
    query = select(func.count()).where(presence.c.state == PresenceState.AWAITED.value)
    return int(conn.execute(query).scalar_one())


def servers_named(conn: Connection) -> set[str]:
    """Return the IDs of the Servers that have Workers in this table."""
    query = select(presence.c.server_id).where(presence.c.state != PresenceState.AWAITED.value)
    return set(conn.execute(query.distinct()).scalars())


def find(conn: Connection, worker_id: str) -> PresenceRecord | None:
    """Return the presence of a Worker, or None if it is not connected."""
    return find_many(conn, [worker_id]).get(worker_id)


def find_many(conn: Connection, worker_ids: Collection[str]) -> dict[str, PresenceRecord]:
    """Return the presence of these Workers, by ID; those not connected are left out."""
    wanted = list(worker_ids)
    found: dict[str, PresenceRecord] = {}
    for start in range(0, len(wanted), _BATCH):
        rows = conn.execute(select(presence).where(presence.c.worker_id.in_(wanted[start : start + _BATCH])))
        found |= {row.worker_id: from_row(PresenceRecord, row) for row in rows}
    return found


def count(conn: Connection) -> int:
    """Return how many Workers are connected or awaited."""
    return int(conn.execute(select(func.count()).select_from(presence)).scalar_one())


def list_all(conn: Connection) -> Iterator[PresenceRecord]:
    """Iterate over every connected or awaited Worker."""
    return (from_row(PresenceRecord, row) for row in conn.execute(select(presence)))


def _of_server(worker_ids: Collection[str], server_id: str) -> ColumnElement[bool]:
    return presence.c.worker_id.in_(worker_ids) & (presence.c.server_id == server_id)


def _publish_changes(tx: WriteTx, worker_ids: Sequence[str]) -> None:
    """Record the current rows of these Workers as changes, for the other Servers."""
    now = find_many(tx.conn, worker_ids)
    for worker_id in worker_ids:
        tx.changed(PresenceChanged(worker_id, now.get(worker_id)))
