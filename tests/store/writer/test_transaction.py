"""Stores on one PostgreSQL take turns, whatever its settings are."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from tests.builders import NOON, event
from tests.store.conftest import AUDIT_KEY

from lyftdata.store import Store
from lyftdata.store.tables import spent_assertions

_TURN = "LOCK TABLE writer_lock IN SHARE UPDATE EXCLUSIVE MODE"
_WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'writer_lock'::regclass AND NOT granted"


@pytest.mark.parametrize("default", ["read committed", "repeatable read", "serializable"])
async def test_a_writer_sees_the_commits_of_the_writers_before_it(cluster, default):
    """Whatever the default isolation level is: an assertion is used once, and the audit log is one chain."""
    url = cluster.new_database()
    name = url.rpartition("/")[2]
    cluster.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}").format(
            sql.Identifier(name), sql.Literal(default)
        )
    )

    def use_up(tx):
        tx.audit(event())
        return bool(spent_assertions.spend_all(tx, {b"d" * 32: NOON + timedelta(minutes=1)}))

    stores = [Store.open(url, audit_key=AUDIT_KEY) for _ in range(3)]
    async with await psycopg.AsyncConnection.connect(url) as turn:
        await turn.execute(_TURN)
        writing = [asyncio.ensure_future(store.write(use_up)) for store in stores]
        async with asyncio.timeout(180):
            while await _waiting(turn) < len(stores):
                await asyncio.sleep(0.01)
    outcomes = await asyncio.gather(*writing, return_exceptions=True)
    report = await stores[0].verify_audit()
    for store in stores:
        await store.close()

    assert sorted(map(str, outcomes)) == ["False", "False", "True"]
    assert (report.ok, report.checked) == (True, 3)


async def _waiting(conn):
    cursor = await conn.execute(_WAITING)
    return (await cursor.fetchone())[0]
