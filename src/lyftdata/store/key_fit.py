"""
Finds out whether a secret key belongs to a database, without changing anything there.

After an interrupted rotation of the secret key there are two keys, and the database shows which one is in force.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
from sqlalchemy import URL, Connection, StaticPool, create_engine, inspect, make_url, select
from sqlalchemy.exc import DBAPIError

from lyftdata.core.keyring import KeyDecryptionError, decrypt_signing_key
from lyftdata.core.records import SigningKeyRecord
from lyftdata.store import audit_log
from lyftdata.store.dialects import dialect, sqlite
from lyftdata.store.errors import StoreError, problem_of, remedy_of
from lyftdata.store.schema import audit_head, signing_keys
from lyftdata.store.tables.signing_keys import all_signing_keys


class KeyCheck(msgspec.Struct, frozen=True):
    """Data in a database that only its own key can verify or decrypt."""

    head: audit_log.WrittenHead | None
    signing_keys: list[SigningKeyRecord]

    def fits(self, *, audit_key: bytes, kek: bytes) -> bool:
        """Return whether the end of the audit log was written, or a signing key encrypted, with these keys."""
        if self.head is not None and self.head.is_written_with(audit_key):
            return True
        return any(_decrypts(record, kek) for record in self.signing_keys)


def load_key_check(database: str | URL) -> KeyCheck:
    """
    Load what shows which key a database has. A file is neither created nor changed.

    Raises:
        StoreError: The database cannot be used.
    """
    try:
        with _reading(make_url(database)) as conn:
            return _load(conn)
    except (DBAPIError, sqlite3.Error) as error:
        problem = problem_of(error) if isinstance(error, DBAPIError) else str(error)
        raise StoreError(f"The database cannot be used: {problem}.", hint=remedy_of(error)) from error


def _load(conn: Connection | None) -> KeyCheck:
    if conn is None:
        return KeyCheck(None, [])
    tables = inspect(conn)
    has_head, has_keys = (tables.has_table(table.name) for table in (audit_head, signing_keys))
    row = conn.execute(select(audit_head)).first() if has_head else None
    head = None if row is None else audit_log.WrittenHead(row.number, row.hash, row.mac)
    return KeyCheck(head, all_signing_keys(conn) if has_keys else [])


@contextlib.contextmanager
def _reading(url: URL) -> Iterator[Connection | None]:
    """Yield a read connection, None if there is no database yet."""
    file = sqlite.file_of(url)
    if file is None:
        engine = dialect.for_reading(dialect.make_engine(url))
    elif Path(file).is_file() and Path(file).stat().st_size:
        existing = Path(file)
        # Without our connection settings, which would change the journal mode of a backup.
        engine = create_engine("sqlite://", creator=lambda: _open_read_only(existing), poolclass=StaticPool)
    else:
        yield None
        return
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()


def _open_read_only(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    connection.execute("PRAGMA trusted_schema=OFF").close()
    return connection


def _decrypts(record: SigningKeyRecord, kek: bytes) -> bool:
    try:
        decrypt_signing_key(record, kek=kek)
    except KeyDecryptionError:
        return False
    return True
