"""Builds a row for any table from its columns, for tests that must cover every column."""

from typing import Any

from alembic import command
from sqlalchemy import JSON, URL, Boolean, Connection, DateTime, Integer, LargeBinary, MetaData, Table, insert
from tests.builders import NOON, event
from tests.store.conftest import AUDIT_KEY

from lyftdata.core.audit_checkpoints import CheckpointKey, join_peaks
from lyftdata.core.merkle_tree import CompactRange
from lyftdata.core.records import CheckpointRecord
from lyftdata.store import audit_log, audit_tree, migrate
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import to_row
from lyftdata.store.schema import audit_checkpoints

_AUDIT = {"audit_events", "audit_head", "audit_checkpoints"}
_NOT_STATE = {"alembic_version", "schema_floor"}
# Columns that allow only certain values.
_OF_A_LIST = {
    "strategy": "api_key",
    "state": "online",
    "approval": "denied",
    "mode": "approve",
    "transport": "file",
}


def make_row(table: Table) -> dict[str, Any]:
    """Return a row with a value in every column; foreign keys match the rows of the other tables."""
    made = {LargeBinary: b"\x00\xff" * 16, Boolean: True, DateTime: NOON, Integer: 7}
    row: dict[str, Any] = {}
    for column in table.columns:
        kind = next((kind for kind in made if isinstance(column.type, kind)), None)
        value = made[kind] if kind else {"os": "línux"} if isinstance(column.type, JSON) else "w-1"
        row[column.name] = _OF_A_LIST.get(column.name, value)
    return row


def begin_audit(conn: Connection, *, events: int = 1) -> None:
    """Write an audit log with its head."""
    audit_log.begin(conn, key=AUDIT_KEY)
    head = audit_log.load_head(conn, key=AUDIT_KEY)
    for _ in range(events):
        row, head = audit_log.link(event(details={"wörd": "ü"}), head=head, key=AUDIT_KEY)
        audit_log.append(conn, [row])
    audit_log.write_head(conn, head, key=AUDIT_KEY)


def sign_checkpoint(conn: Connection) -> None:
    """Store a checkpoint of the audit log."""
    tree = CompactRange()
    audit_tree.extend(conn, tree, audit_key=AUDIT_KEY)
    note = CheckpointKey(AUDIT_KEY, issuer="https://lyft.example").sign(tree)
    record = CheckpointRecord(size=tree.size, at=NOON, peaks=join_peaks(tree), note=note)
    conn.execute(insert(audit_checkpoints), to_row(record))


def make_filled(url: str | URL, *, revision: str = "head", events: int = 3) -> list[str]:
    """Create a database of a schema version with a row in every table; return the names of the tables."""
    engine = dialect.make_engine(url)
    with dialect.migrating(engine) as conn:
        config = migrate.configuration()
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
        found = MetaData()
        found.reflect(conn)
        for table in found.sorted_tables:
            if table.name not in _AUDIT | _NOT_STATE:
                conn.execute(insert(table), make_row(table))
        begin_audit(conn, events=events)
        if audit_checkpoints.name in found.tables:
            sign_checkpoint(conn)
    engine.dispose()
    return [table.name for table in found.sorted_tables if table.name not in _NOT_STATE]
