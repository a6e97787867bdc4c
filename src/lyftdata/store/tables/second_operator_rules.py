"""Table of the rules for actions that a second operator must confirm: at most one row."""

from sqlalchemy import Connection, delete, select

from lyftdata.core.second_operator import SecondOperatorRules
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import second_operator_rules
from lyftdata.store.writer.transaction import WriteTx

_ID = 1


def find_rules(conn: Connection) -> SecondOperatorRules | None:
    """Return the rules, None if no action needs a second operator."""
    row = conn.execute(select(second_operator_rules)).first()
    return None if row is None else from_row(SecondOperatorRules, row)


def write_rules(tx: WriteTx, rules: SecondOperatorRules) -> None:
    """Write the rules, replacing the previous ones."""
    dialect.upsert(tx.conn, second_operator_rules, [{"id": _ID, **to_row(rules)}])


def clear_rules(tx: WriteTx) -> bool:
    """Remove the rules; return whether there were any."""
    return tx.conn.execute(delete(second_operator_rules)).rowcount > 0
