"""Table of unfinished sign-ins by device code."""

from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from lyftdata.core.device_login import DeviceLoginRecord
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import device_logins
from lyftdata.store.writer.transaction import WriteTx

_table = device_logins.c


def insert_login(tx: WriteTx, record: DeviceLoginRecord, *, at_most: int) -> bool:
    """Delete expired sign-ins and add one; return False, without adding it, if there are too many."""
    tx.conn.execute(delete(device_logins).where(_table.expires_at <= record.created_at))
    if tx.conn.execute(select(func.count()).select_from(device_logins)).scalar_one() >= at_most:
        return False
    tx.conn.execute(insert(device_logins), to_row(record))
    return True


def replace_login(tx: WriteTx, record: DeviceLoginRecord) -> None:
    """Update a sign-in."""
    row = to_row(record)
    is_it = _table.device_digest == row.pop("device_digest")
    tx.conn.execute(update(device_logins).where(is_it).values(row))


def delete_login(tx: WriteTx, device_digest: bytes) -> None:
    """Remove a sign-in."""
    tx.conn.execute(delete(device_logins).where(_table.device_digest == device_digest))


def find_by_device(conn: Connection, device_digest: bytes) -> DeviceLoginRecord | None:
    """Return the sign-in whose device code has this digest, or None."""
    row = conn.execute(select(device_logins).where(_table.device_digest == device_digest)).first()
    return None if row is None else from_row(DeviceLoginRecord, row)


def find_by_user(conn: Connection, user_digest: str, *, now: datetime) -> DeviceLoginRecord | None:
    """Return the sign-in with this user code that has not expired, or None."""
    query = select(device_logins).where(_table.user_digest == user_digest, _table.expires_at > now)
    row = conn.execute(query).first()
    return None if row is None else from_row(DeviceLoginRecord, row)
