"""Table of which Worker is connected to which Server, if there are several (PostgreSQL)."""

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
    Give each Worker its place at a Server, unless another start of it is connected at another.

    Of two Servers that are asked at once for two starts of one Worker, one gives the place. How many are asked for at once makes
    no difference to any of them, only to the number of statements.

    Args:
        tx: The transaction.
        records: The sessions that begin; one of the same boot moves here.
        dead_after: How long a Server may be silent until what was connected there holds no place.

    Returns:
        For each, the session that holds the place: another start's, or the one that is given, connected since it was at whichever
        Server.
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
    """Return whether a session keeps another out if its Server lives: a connected one of another start, at another Server."""
    return (
        holder.boot_id != record.boot_id
        # Who asks knows better than this row how a session at itself stands.
        and holder.server_id != record.server_id
        and holder.state is PresenceState.CONNECTED
    )


def _moved(record: PresenceRecord, holder: PresenceRecord) -> PresenceRecord:
    """
    Return a session as one that goes on, if it comes from another Server.

    The Server that asks may not know of it yet: a Worker that has just connected can be there with its second poll first.
    """
    goes_on = holder.boot_id == record.boot_id and holder.state is not PresenceState.AWAITED
    is_elsewhere = holder.server_id != record.server_id
    return msgspec.structs.replace(record, since=holder.since) if goes_on and is_elsewhere else record


def reclaim_slots(tx: WriteTx, records: Sequence[PresenceRecord]) -> None:
    """
    Write down that Workers are connected at a Server, except those that are at another; one record a Worker.

    For a Server that was given up as silent while it lived: what was connected to it was awaited, or is by now forgotten.
    """
    holders = find_many(tx.conn, [record.worker_id for record in records])
    _write(tx, [record for record in records if _is_missing(record, holders.get(record.worker_id))])


def _is_missing(record: PresenceRecord, holder: PresenceRecord | None) -> bool:
    return holder is None or (holder.server_id == record.server_id and holder != record)


def _write(tx: WriteTx, records: Sequence[PresenceRecord]) -> None:
    """Write down where Workers are connected, one record each; those that are deleted by now get no row."""
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
    """Update the rows of Workers that are connected at a Server, unless they are at another by now."""
    wanted = sorted(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        of_server = _of_server(wanted[start : start + _BATCH], server_id)
        values = {"state": state.value, "state_since": servers.now()}
        changed = update(presence).where(of_server).values(values).returning(presence.c.worker_id)
        _publish_changes(tx, tx.conn.execute(changed).scalars().all())


def update_credentials(tx: WriteTx, used: Mapping[str, tuple[str, str]], *, server_id: str) -> None:
    """
    Update by what Workers are connected at a Server, unless they are at another by now.

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
    """Remove Workers that are no longer connected at a Server; those that are at another by now stay there."""
    wanted = sorted(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        of_server = _of_server(wanted[start : start + _BATCH], server_id)
        removed = delete(presence).where(of_server).returning(presence.c.worker_id)
        _publish_changes(tx, tx.conn.execute(removed).scalars().all())


def mark_awaited(tx: WriteTx, server_id: str) -> list[str]:
    """Mark the Workers of a Server that is gone as awaited at another; return their IDs."""
    query = select(presence.c.worker_id).where(
        presence.c.server_id == server_id, presence.c.state != PresenceState.AWAITED.value
    )
    ids = list(tx.conn.execute(query).scalars())
    set_state(tx, ids, PresenceState.AWAITED, server_id=server_id)
    return ids


def expire_awaited(tx: WriteTx, *, after: timedelta) -> None:
    """Remove awaited Workers that have not reconnected for so long."""
    overdue = (presence.c.state == PresenceState.AWAITED.value) & (
        presence.c.state_since <= servers.time_ago(after)
    )
    removed = delete(presence).where(overdue).returning(presence.c.worker_id)
    _publish_changes(tx, tx.conn.execute(removed).scalars().all())


def count_awaited(conn: Connection) -> int:
    """Return how many Workers are awaited: their Server is gone, and they have not reconnected."""
    query = select(func.count()).where(presence.c.state == PresenceState.AWAITED.value)
    return int(conn.execute(query).scalar_one())


def servers_named(conn: Connection) -> set[str]:
    """Return the IDs of the Servers that have connected Workers according to this table."""
    query = select(presence.c.server_id).where(presence.c.state != PresenceState.AWAITED.value)
    return set(conn.execute(query.distinct()).scalars())


def find(conn: Connection, worker_id: str) -> PresenceRecord | None:
    """Return how a Worker is connected, or None."""
    return find_many(conn, [worker_id]).get(worker_id)


def find_many(conn: Connection, worker_ids: Collection[str]) -> dict[str, PresenceRecord]:
    """Return how these Workers are connected, by ID; those that are not are left out."""
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
