"""Table of the Server's signing keys, encrypted."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from lyftdata.core.records import SigningKeyRecord
from lyftdata.store.changes import SigningKeysChanged
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import signing_keys
from lyftdata.store.writer.transaction import WriteTx


def all_signing_keys(conn: Connection) -> list[SigningKeyRecord]:
    """Return every key, in the order in which they are used for signing."""
    rows = conn.execute(select(signing_keys).order_by(signing_keys.c.signs_from, signing_keys.c.kid))
    return [from_row(SigningKeyRecord, row) for row in rows]


def insert_signing_key(tx: WriteTx, record: SigningKeyRecord) -> None:
    """Add a key."""
    tx.conn.execute(insert(signing_keys), to_row(record))
    tx.changed(SigningKeysChanged())


def set_signs_from(tx: WriteTx, kid: str, signs_from: datetime) -> None:
    """Set when a key starts to sign."""
    tx.conn.execute(update(signing_keys).where(signing_keys.c.kid == kid).values(signs_from=signs_from))
    tx.changed(SigningKeysChanged())


def set_retires_at(tx: WriteTx, kid: str, retires_at: datetime) -> None:
    """Set when a key leaves the JWKS."""
    tx.conn.execute(update(signing_keys).where(signing_keys.c.kid == kid).values(retires_at=retires_at))
    tx.changed(SigningKeysChanged())


def replace_encrypted_key(tx: WriteTx, kid: str, encrypted: bytes) -> None:
    """Replace the encrypted form of a key; the key itself stays the same."""
    statement = update(signing_keys).where(signing_keys.c.kid == kid)
    tx.conn.execute(statement.values(encrypted_private_key=encrypted))


def delete_signing_key(tx: WriteTx, kid: str) -> None:
    """Remove a key."""
    tx.conn.execute(delete(signing_keys).where(signing_keys.c.kid == kid))
    tx.changed(SigningKeysChanged())
