"""Table of operators' passkeys: public keys, and the last signature counter of each."""

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from lyftdata.core.records import PasskeyRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import passkeys
from lyftdata.store.writer.transaction import WriteTx


def insert_passkey(tx: WriteTx, record: PasskeyRecord) -> bool:
    """Add a passkey; return False, without adding it, if its credential ID, or its name for this operator, is taken."""
    return bool(dialect.insert_ignoring_conflicts(tx.conn, passkeys, [to_row(record)]))


def use_passkey(tx: WriteTx, passkey_id: str, *, sign_count: int, now: datetime) -> bool:
    """
    Advance the counter; return False if the new value is not greater than the last one: the passkey may have been copied.

    An authenticator without a counter sends 0 each time (WebAuthn Level 3, section 6.1.1). One statement, so that of two uses at once,
    even at two Servers, only one counts.
    """
    table = passkeys.c
    is_beyond = table.sign_count < sign_count
    done = tx.conn.execute(
        update(passkeys)
        .where((table.id == passkey_id) & (is_beyond if sign_count else table.sign_count == 0))
        .values(sign_count=sign_count, used_at=now)
    )
    return done.rowcount == 1


def delete_passkey(tx: WriteTx, operator: str, passkey_id: str) -> None:
    """Remove one passkey of an operator."""
    tx.conn.execute(delete(passkeys).where((passkeys.c.operator == operator) & (passkeys.c.id == passkey_id)))


def delete_passkeys_of(tx: WriteTx, operator: str) -> None:
    """Remove every passkey of an operator."""
    tx.conn.execute(delete(passkeys).where(passkeys.c.operator == operator))


def passkeys_of(conn: Connection, operator: str) -> list[PasskeyRecord]:
    """Return the passkeys of an operator, the oldest first."""
    query = (
        select(passkeys).where(passkeys.c.operator == operator).order_by(passkeys.c.created_at, passkeys.c.id)
    )
    return [from_row(PasskeyRecord, row) for row in conn.execute(query)]


def find_by_credential(conn: Connection, operator: str, credential_id: bytes) -> PasskeyRecord | None:
    """Return the operator's passkey with this credential ID, or None, also if it belongs to another operator."""
    query = select(passkeys).where(
        (passkeys.c.operator == operator) & (passkeys.c.credential_id == credential_id)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else from_row(PasskeyRecord, row)
