"""A PostgreSQL that has no connection left for a Server: what the Server reports, and that it recovers by itself."""

import asyncio
import threading

import pytest
from psycopg import sql
from tests.builders import ISSUER, SECRET_KEY

from lyftdata.doctor import database
from lyftdata.server.clock import utc_now
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.store import StoreError
from lyftdata.store.engine import MAX_CONNECTIONS


@pytest.fixture
def limited(cluster):
    """Return a database's URL, and a function that limits the connections of its role and terminates those that are open."""
    url = cluster.new_database()
    name = url.rpartition("/")[2]
    cluster.execute("CREATE ROLE few LOGIN PASSWORD 'x'")
    cluster.execute(sql.SQL("ALTER DATABASE {} OWNER TO few").format(sql.Identifier(name)))
    cluster.execute("ALTER SCHEMA public OWNER TO few", name)

    def limit(most):
        cluster.execute(sql.SQL("ALTER ROLE few CONNECTION LIMIT {}").format(sql.Literal(most)))
        cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'")

    yield url.replace("owner:not-a-secret", "few:x"), limit
    cluster.execute("REASSIGN OWNED BY few TO owner", name)
    cluster.execute("DROP OWNED BY few", name)
    cluster.execute(sql.SQL("ALTER DATABASE {} OWNER TO owner").format(sql.Identifier(name)))
    cluster.execute("DROP ROLE few")


async def until_ready(server, status):
    """Wait until `/readyz` answers with this status."""
    while (await server.http.get("/readyz")).status_code != status:
        await asyncio.sleep(0.02)


async def test_a_server_without_a_connection_is_not_ready_and_recovers(start_server, limited):
    """It answers 503 instead of deciding on stale state; what it had written is there, and it recovers by itself."""
    url, limit = limited
    async with start_server(url=url) as server:
        worker_id, key = await server.enrolled()
        await asyncio.to_thread(limit, 0)
        await until_ready(server, 503)
        meanwhile = await server.token_by_assertion(server.assertion(key, worker_id))

        await asyncio.to_thread(limit, -1)
        await until_ready(server, 200)

        assert (meanwhile.status_code, meanwhile.json()["error"]) == (503, "temporarily_unavailable")
        assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200
        assert (await server.services.store.verify_audit()).ok


async def test_a_server_that_gets_no_connection_at_its_start_says_what_to_do(start_server, limited):
    """It does not start; `lyftdata doctor server` says the same."""
    url, limit = limited
    await asyncio.to_thread(limit, 0)

    with pytest.raises(StoreError) as caught:
        async with start_server(url=url):
            pass
    settings = read_server_settings(
        {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": SECRET_KEY, "LYFTDATA_PUBLIC_URL": ISSUER}
    )
    [found] = database.check_database(settings, now=utc_now())

    assert "it has no free connection: " in caught.value.message
    assert 'too many connections for role "few"' in caught.value.message
    assert "max_connections" in caught.value.hint
    assert (found.check.code, found.fix) == ("database_unusable", caught.value.hint)


async def test_a_server_needs_no_more_connections_than_documented(start_server, limited):
    """With exactly MAX_CONNECTIONS it starts, writes, reads and follows the changes of its peers."""
    url, limit = limited
    await asyncio.to_thread(limit, MAX_CONNECTIONS)
    async with start_server(url=url) as server:
        store = server.services.store
        met = threading.Barrier(3)

        def hold(_conn):
            met.wait(60)

        await asyncio.gather(
            store.write(hold),
            store.read(hold),
            store.read(hold),
            *(store.refresh(full=True) for _ in range(5)),
        )
        assert (await server.http.get("/readyz")).status_code == 200
