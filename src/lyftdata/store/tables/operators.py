"""Table of operators."""

from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from lyftdata.core.errors import ConflictError
from lyftdata.core.records import OperatorRecord
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import operators
from lyftdata.store.writer.transaction import WriteTx


def insert_operator(tx: WriteTx, record: OperatorRecord) -> None:
    """Add an operator; raises ConflictError `operator_name_taken`."""
    try:
        tx.conn.execute(insert(operators), to_row(record))
    except IntegrityError as error:
        raise ConflictError(
            "operator_name_taken", f"There is an operator '{record.name}' already."
        ) from error


def replace_operator(tx: WriteTx, record: OperatorRecord) -> None:
    """Replace an operator."""
    tx.conn.execute(update(operators).where(operators.c.name == record.name).values(to_row(record)))


def delete_operator(tx: WriteTx, name: str) -> None:
    """Remove an operator."""
    tx.conn.execute(delete(operators).where(operators.c.name == name))


def find_operator(conn: Connection, name: str) -> OperatorRecord | None:
    """Return the operator of this name, or None."""
    row = conn.execute(select(operators).where(operators.c.name == name)).first()
    return None if row is None else from_row(OperatorRecord, row)


def find_by_identity(conn: Connection, *, issuer: str, subject: str) -> OperatorRecord | None:
    """Return the operator with this subject at an issuer, or None."""
    query = select(operators).where(operators.c.issuer == issuer, operators.c.subject == subject)
    row = conn.execute(query).first()
    return None if row is None else from_row(OperatorRecord, row)


def has_emergency_password(conn: Connection, *, now: datetime) -> bool:
    """Return whether any operator has an emergency password that has not expired."""
    query = select(operators.c.name).where(operators.c.password_expires_at > now).limit(1)
    return conn.execute(query).first() is not None


def all_operators(conn: Connection) -> list[OperatorRecord]:
    """Return every operator, by name."""
    return [
        from_row(OperatorRecord, row) for row in conn.execute(select(operators).order_by(operators.c.name))
    ]


def count_operators(conn: Connection) -> int:
    """Return how many operators there are."""
    return conn.execute(select(func.count()).select_from(operators)).scalar_one()


def unlocks_by_name(conn: Connection) -> dict[str, int]:
    """Return how often each operator was unlocked, by name."""
    rows = conn.execute(select(operators.c.name, operators.c.unlocks))
    return {row.name: row.unlocks for row in rows}
