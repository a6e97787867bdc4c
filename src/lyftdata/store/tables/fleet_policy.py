"""Table of the fleet policy for agent versions: at most one row."""

from sqlalchemy import Connection, delete, select

from lyftdata.core.fleet_policy import FleetPolicyRecord
from lyftdata.store.changes import FleetPolicyChanged
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import fleet_policy
from lyftdata.store.writer.transaction import WriteTx

_ID = 1


def find_policy(conn: Connection) -> FleetPolicyRecord | None:
    """Return the policy, or None."""
    row = conn.execute(select(fleet_policy)).first()
    return None if row is None else from_row(FleetPolicyRecord, row)


def write_policy(tx: WriteTx, record: FleetPolicyRecord) -> None:
    """Write the policy, replacing the previous one."""
    dialect.upsert(tx.conn, fleet_policy, [{"id": _ID, **to_row(record)}])
    tx.changed(FleetPolicyChanged(record))


def clear_policy(tx: WriteTx) -> bool:
    """Remove the policy; return whether there was one."""
    is_removed = tx.conn.execute(delete(fleet_policy)).rowcount > 0
    tx.changed(FleetPolicyChanged(None))
    return is_removed
