"""Finds the rights that the Servers' own role lacks in a PostgreSQL database."""

from sqlalchemy import Connection

from lyftdata.store.dialects import dialect
from lyftdata.store.schema import metadata

_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_ON_TABLES = """
SELECT relname FROM pg_class JOIN unnest(%(names)s::text[]) AS name ON pg_class.oid = to_regclass(name)
WHERE NOT has_table_privilege(pg_class.oid, %(right)s) ORDER BY relname
"""
# Sequences that a column takes its numbers from; the one of an identity column needs no right. CASE, since PostgreSQL may evaluate
# the conditions in any order, and asking for the right on something that is not a sequence is an error.
_ON_SEQUENCES = """
SELECT sequence.relname FROM pg_class AS sequence
JOIN pg_depend ON pg_depend.objid = sequence.oid AND pg_depend.deptype = 'a'
JOIN unnest(%(names)s::text[]) AS name ON pg_depend.refobjid = to_regclass(name)
WHERE CASE sequence.relkind WHEN 'S' THEN NOT has_sequence_privilege(sequence.oid, 'USAGE') ELSE false END
ORDER BY sequence.relname
"""


def find_missing(conn: Connection) -> list[tuple[str, str]]:
    """
    Return each right that this connection's role lacks, with the statement that grants it; nothing for SQLite.

    Tables that do not exist are left out: the first Server creates them.
    """
    if not dialect.is_shared(conn.engine):
        return []
    quote = conn.dialect.identifier_preparer.quote
    role, schema = conn.exec_driver_sql("SELECT current_user, current_schema()").one()
    if schema is None:
        return [("the schema of the tables", f"GRANT USAGE, CREATE ON SCHEMA public TO {quote(role)}")]
    names = list(metadata.tables)
    found = []
    for right in _RIGHTS:
        rows = conn.exec_driver_sql(_ON_TABLES, {"names": names, "right": right}).scalars().all()
        if rows:
            found.append(
                (
                    f"{right} on {', '.join(rows)}",
                    f"GRANT {right} ON {', '.join(quote(name) for name in rows)} TO {quote(role)}",
                )
            )
    sequences = conn.exec_driver_sql(_ON_SEQUENCES, {"names": names}).scalars().all()
    if sequences:
        listed = ", ".join(quote(name) for name in sequences)
        found.append(
            (f"USAGE on {', '.join(sequences)}", f"GRANT USAGE ON SEQUENCE {listed} TO {quote(role)}")
        )
    return found
