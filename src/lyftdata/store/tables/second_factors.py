"""Tables of operators' authenticator apps, with encrypted secrets, and of digests of recovery codes; passkeys are in `tables/passkeys.py`."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from lyftdata.core.records import SecondFactorRecord
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import passkeys, recovery_codes, second_factors
from lyftdata.store.writer.transaction import WriteTx


def insert_factor(tx: WriteTx, record: SecondFactorRecord) -> None:
    """Add an authenticator app."""
    tx.conn.execute(insert(second_factors), to_row(record))


def use_factor(tx: WriteTx, factor_id: str, *, counter: int, now: datetime) -> bool:
    """
    Record the use of a factor with a counter; return False if the counter is not greater than the last one.

    Replay: one statement, so that of two uses at once, even at two Servers, only one counts.
    """
    table = second_factors.c
    done = tx.conn.execute(
        update(second_factors)
        .where((table.id == factor_id) & (table.counter < counter))
        .values(counter=counter, used_at=now)
    )
    return done.rowcount == 1


def replace_sealed(tx: WriteTx, factor_id: str, sealed: bytes) -> None:
    """Replace the encrypted secret of a factor, for a rotation of the secret key."""
    tx.conn.execute(update(second_factors).where(second_factors.c.id == factor_id).values(sealed=sealed))


def delete_factors_of(tx: WriteTx, operator: str) -> None:
    """Remove every app of an operator."""
    tx.conn.execute(delete(second_factors).where(second_factors.c.operator == operator))


def factors_of(conn: Connection, operator: str) -> list[SecondFactorRecord]:
    """Return the apps of an operator, the oldest first."""
    query = (
        select(second_factors)
        .where(second_factors.c.operator == operator)
        .order_by(second_factors.c.created_at, second_factors.c.id)
    )
    return [from_row(SecondFactorRecord, row) for row in conn.execute(query)]


def all_factors(conn: Connection) -> list[SecondFactorRecord]:
    """Return the apps of every operator."""
    return [
        from_row(SecondFactorRecord, row)
        for row in conn.execute(select(second_factors).order_by(second_factors.c.id))
    ]


def operators_with_factors(conn: Connection) -> set[str]:
    """Return the names of the operators who have a second factor, an app or a passkey."""
    query = select(second_factors.c.operator).union(select(passkeys.c.operator))
    return set(conn.execute(query).scalars())


def has_factor(conn: Connection, operator: str) -> bool:
    """Return whether an operator has a second factor, an app or a passkey."""
    query = (
        select(second_factors.c.operator)
        .where(second_factors.c.operator == operator)
        .union(select(passkeys.c.operator).where(passkeys.c.operator == operator))
    )
    return conn.execute(query).first() is not None


def replace_recovery_codes(tx: WriteTx, operator: str, digests: Collection[bytes]) -> None:
    """Replace an operator's recovery codes."""
    tx.conn.execute(delete(recovery_codes).where(recovery_codes.c.operator == operator))
    if digests:
        tx.conn.execute(
            insert(recovery_codes), [{"operator": operator, "digest": digest} for digest in digests]
        )


def spend_recovery_code(tx: WriteTx, operator: str, digest: bytes) -> bool:
    """Use up a recovery code; return whether it existed. Of two uses at once only one counts."""
    table = recovery_codes.c
    done = tx.conn.execute(
        delete(recovery_codes).where((table.operator == operator) & (table.digest == digest))
    )
    return done.rowcount == 1


def count_recovery_codes(conn: Connection, operator: str) -> int:
    """Return how many codes an operator has left."""
    query = select(func.count()).select_from(recovery_codes).where(recovery_codes.c.operator == operator)
    return conn.execute(query).scalar_one()
