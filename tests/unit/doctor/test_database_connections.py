"""What the doctor reports about the number of connections that PostgreSQL allows."""

import asyncio
import contextlib
import socket

import pytest
from psycopg import sql
from tests.behaviour.several_servers.balanced import PgBouncer
from tests.builders import ISSUER, SECRET_KEY
from tests.store.conftest import AUDIT_KEY, run_directly

from lyftdata.doctor.database_connections import check_connections
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.store import Store
from lyftdata.store.engine import MAX_CONNECTIONS


@pytest.fixture
def url(cluster):
    """Return the URL of a database with a Server's tables."""
    made = cluster.new_database()
    asyncio.run(Store.open(made, audit_key=AUDIT_KEY).close())
    return made


@pytest.fixture
def limit(cluster, url):
    """Return a function that limits the connections to the database."""

    def change(most):
        name = sql.Identifier(url.rpartition("/")[2])
        cluster.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, sql.Literal(most)))

    return change


def examined(url, tmp_path, **environ):
    """Return the findings by code."""
    given = {
        "LYFTDATA_STAGING_DIR": str(tmp_path / "staging"),
        "LYFTDATA_PUBLIC_URL": ISSUER,
        "LYFTDATA_DATABASE_URL": url,
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
    }
    found = check_connections(read_server_settings(given | environ), url)
    return {finding.check.code: finding for finding in found}


def add_server(url, server_id, *, address, host="elsewhere", silent_for="0 s"):
    """Add a Server that uses the database."""
    run_directly(
        url,
        "INSERT INTO servers (id, host, address, version, started_at, beat_at) "
        "VALUES (:id, :host, :address, '1', now(), now() - CAST(:silent_for AS interval))",
        id=server_id,
        host=host,
        address=address,
        silent_for=silent_for,
    )


def test_a_sufficient_connection_limit_has_no_finding(url, limit, tmp_path):
    """Nor has a database without a limit; one connection less than needed is too few."""
    assert examined(url, tmp_path) == {}
    limit(2 * MAX_CONNECTIONS)
    assert examined(url, tmp_path, LYFTDATA_PROCESSES="2") == {}

    limit(2 * MAX_CONNECTIONS - 1)
    found = examined(url, tmp_path, LYFTDATA_PROCESSES="2")

    assert list(found) == ["database_connections_too_few"]
    assert (
        "2 Server processes open up to 10 connections (5 each)" in found["database_connections_too_few"].what
    )
    assert "the database is limited to 9" in found["database_connections_too_few"].what
    assert found["database_connections_too_few"].fix.startswith("ALTER DATABASE … CONNECTION LIMIT 15.")


def test_a_max_connections_that_is_too_low_is_found_with_a_better_value(url, cluster, tmp_path):
    """Enough for the processes, the reserved ones, those in use by others, and some spare."""
    most = int(cluster.ask("SHOW max_connections"))

    found = examined(url, tmp_path, LYFTDATA_PROCESSES="64")["database_connections_too_few"]

    assert f"max_connections is {most}, 3 of them are reserved" in found.what
    assert int(found.fix.split("max_connections = ")[1].split(",")[0]) >= 64 * MAX_CONNECTIONS + 3


def test_live_servers_of_all_hosts_are_each_counted_once(url, limit, tmp_path):
    """Those on this host are the processes in its setting; a Server without a heartbeat has no connections."""
    here, address = socket.gethostname(), "127.0.0.1:3000"
    add_server(url, "here-1", host=here, address=f"{address} #1")
    add_server(url, "here-2", host=here, address=f"{address} #2")
    add_server(url, "there-1", address=f"{address} #1")
    add_server(url, "there-2", address=f"{address} #2")
    add_server(url, "gone", address="10.0.0.9:3000", silent_for="1 min")
    limit(1)

    def count(processes):
        found = examined(url, tmp_path, LYFTDATA_BIND_ADDRESS=address, LYFTDATA_PROCESSES=processes)
        return found["database_connections_too_few"].what.split(" Server")[0]

    assert [count("1"), count("2"), count("4")] == ["4", "4", "6"]


def test_a_limit_behind_a_pooler_is_only_a_note(url, limit, cluster, tmp_path):
    """It says how many connections the pooler must accept."""
    limit(MAX_CONNECTIONS - 1)
    with contextlib.closing(PgBouncer(tmp_path / "pgbouncer", cluster)) as bouncer:
        found = examined(bouncer.url(url), tmp_path)
    note = found["database_connections_not_checked"]

    assert list(found) == ["database_connections_not_checked"]
    assert note.check.severity == "note"
    assert "1 Server process opens up to 5 connections (5 each) to it" in note.what
    assert "max_client_conn" in note.fix


def test_a_database_without_tables_has_no_finding(cluster, tmp_path):
    """The first start creates them; other checks find what else is wrong."""
    assert examined(cluster.new_database(), tmp_path) == {}
