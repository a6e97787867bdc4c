"""Test databases whose tables are made without the migrations are the same as with them."""

import subprocess
from pathlib import Path

from sqlalchemy import create_engine
from tests.postgres import Cluster, find_programs
from tests.shared_starts import share_migrations

from lyftdata.store import migrate


def _dump_sqlite(path: Path) -> str:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as conn:
        assert migrate.upgrade(conn)
        raw = conn.connection.driver_connection
        assert raw is not None
        dump = "\n".join(raw.iterdump())
    engine.dispose()
    return dump


def _dump_postgresql(cluster: Cluster) -> str:
    url = cluster.new_database()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as conn:
        assert migrate.upgrade(conn)
    engine.dispose()
    programs = find_programs()
    assert programs is not None
    dump = subprocess.run(
        [programs / "pg_dump", "--no-owner", url], capture_output=True, text=True, check=True, timeout=180
    ).stdout
    # Leave out the lines that contain a random word.
    return "\n".join(
        line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )


def test_repeated_migrations_make_the_same_sqlite_database(tmp_path, monkeypatch):
    """The migrations make the first one, and repeating their statements makes the next; no table, index or row differs."""
    by_migrations = _dump_sqlite(tmp_path / "1.db")
    share_migrations(monkeypatch.setattr)
    _dump_sqlite(tmp_path / "2.db")

    assert "CREATE TABLE operators" in by_migrations
    assert _dump_sqlite(tmp_path / "3.db") == by_migrations


def test_repeated_migrations_make_the_same_postgresql_database(cluster, monkeypatch):
    """No line of `pg_dump` differs."""
    by_migrations = _dump_postgresql(cluster)
    share_migrations(monkeypatch.setattr)
    _dump_postgresql(cluster)

    assert "CREATE TABLE public.operators" in by_migrations
    assert _dump_postgresql(cluster) == by_migrations
