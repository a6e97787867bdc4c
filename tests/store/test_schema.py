"""The schema in code equals that of the migrations, and the database contains no credentials."""

from tests.builders import event
from tests.store.conftest import AUDIT_KEY, ON_SQLITE

from lyftdata.store.schema import metadata


async def test_migrations_create_the_tables_in_code(store):
    """Alembic finds no difference between the migrated database and the tables in code."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    def difference(conn):
        return compare_metadata(MigrationContext.configure(conn), metadata)

    assert await store.read(difference) == []


@ON_SQLITE
async def test_the_database_contains_no_credentials(store, database_url):
    """Neither the audit key nor any plain secret is in the file."""
    await store.write(lambda tx: tx.audit(event()))

    from pathlib import Path

    file = Path(database_url.removeprefix("sqlite:///"))
    content = b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))
    assert AUDIT_KEY not in content
