"""What the doctor finds in a Server's database."""

import asyncio
import contextlib
import subprocess
import sys
from datetime import timedelta

import msgspec
import psycopg
import pytest
from psycopg import sql
from tests.builders import ISSUER, SECRET_KEY
from tests.store.conftest import AUDIT_KEY

from lyftdata.doctor import database
from lyftdata.server.clock import utc_now
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.store import Store
from lyftdata.store.tables import event_destinations

OTHER_KEY = "Pb2Hd9Gf4Js6UaZt8qYw3nV5rKc1xLm7"
HOLD = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _waits_briefly(monkeypatch):
    monkeypatch.setattr(database, "_LOCK_WITHIN_S", 0.2)


def examined(tmp_path, **environ):
    """Return the findings by code."""
    return {finding.check.code: finding for finding in each_finding(tmp_path, **environ)}


def each_finding(tmp_path, **environ):
    """Return the findings."""
    given = {"LYFTDATA_STAGING_DIR": str(tmp_path / "staging"), "LYFTDATA_PUBLIC_URL": ISSUER} | environ
    return list(database.check_database(read_server_settings(given), now=utc_now()))


@pytest.fixture
def postgresql(cluster):
    """Return the settings of a Server on PostgreSQL, with its tables, and closed to other roles."""
    url = cluster.new_database()
    name = url.rpartition("/")[2]
    cluster.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    cluster.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
    asyncio.run(Store.open(url, audit_key=AUDIT_KEY).close())
    return {
        "LYFTDATA_DATABASE_URL": url,
        "LYFTDATA_ALLOW_UNVERIFIED_DATABASE": "yes",
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
    }


async def test_a_healthy_database_has_no_finding(opened, tmp_path):
    """While its Server runs."""
    async with opened():
        assert examined(tmp_path) == {}


def test_a_database_that_does_not_exist_yet_has_no_finding(tmp_path):
    """The Server creates it at the first start."""
    assert examined(tmp_path) == {}


async def test_a_program_that_holds_the_sqlite_lock_is_found(opened, tmp_path):
    """With its process ID."""
    async with opened():
        file = tmp_path / "staging" / "lyftdata.db"
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            found = await asyncio.to_thread(examined, tmp_path)
            holder.stdin.close()

    assert list(found) == ["database_locked"]
    assert f"pid {holder.pid}," in found["database_locked"].what


def test_a_session_that_holds_the_postgresql_lock_is_found(postgresql, tmp_path):
    """With its application name, and the command that terminates it."""
    with psycopg.connect(postgresql["LYFTDATA_DATABASE_URL"], application_name="nightly job") as conn:
        conn.execute("LOCK TABLE writer_lock IN SHARE UPDATE EXCLUSIVE MODE")
        found = examined(tmp_path, **postgresql)
        holder = conn.info.backend_pid

    assert list(found) == ["database_locked"]
    assert f"pid {holder}, role owner, application nightly job" in found["database_locked"].what
    assert "pg_terminate_backend" in found["database_locked"].fix
    assert examined(tmp_path, **postgresql) == {}


def test_a_database_that_every_role_can_connect_to_is_found(postgresql, cluster, tmp_path):
    """With the statement that revokes that."""
    name = postgresql["LYFTDATA_DATABASE_URL"].rpartition("/")[2]
    cluster.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(sql.Identifier(name)))

    found = examined(tmp_path, **postgresql)

    assert list(found) == ["database_exposed"]
    assert found["database_exposed"].fix == f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"


def test_a_privilege_that_the_servers_role_lacks_is_found(postgresql, cluster, tmp_path):
    """With the statement that grants it, after which it is no longer found."""
    url = postgresql["LYFTDATA_DATABASE_URL"]
    name = url.rpartition("/")[2]
    cluster.execute("CREATE ROLE doctors_patient LOGIN PASSWORD 'x'")
    try:
        for grant in (
            f"GRANT CONNECT ON DATABASE {name} TO doctors_patient",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO doctors_patient",
            "REVOKE INSERT ON workers FROM doctors_patient",
        ):
            cluster.execute(grant, name)
        settings = postgresql | {
            "LYFTDATA_DATABASE_URL": url.replace("owner:not-a-secret", "doctors_patient:x")
        }
        found = each_finding(tmp_path, **settings)
        fixes = [one.fix.partition(": ")[2] for one in found if one.check.code == "database_rights_missing"]
        assert fixes == [
            "GRANT INSERT ON workers TO doctors_patient",
            "GRANT USAGE ON SEQUENCE changes_seq_seq, refusal_attempts_number_seq TO doctors_patient",
        ]
        for statement in fixes:
            cluster.execute(statement, name)
        assert "database_rights_missing" not in examined(tmp_path, **settings)
    finally:
        cluster.execute("DROP OWNED BY doctors_patient", name)
        cluster.execute("DROP ROLE doctors_patient")


async def test_a_secret_key_that_does_not_fit_the_signing_keys_is_found(opened, tmp_path):
    """Before a start fails because of it."""
    async with opened():
        pass
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "staging" / "audit-checkpoint.txt").unlink()

    found = examined(tmp_path, LYFTDATA_SECRET_KEY=OTHER_KEY)

    assert list(found) == ["signing_keys_unreadable"]
    assert OTHER_KEY not in str(found)


async def test_a_destination_that_is_paused_for_an_hour_is_found(opened, tmp_path):
    """With the command that resumes it."""
    async with opened() as server:
        admin = await server.sign_in()
        body = {"name": "siem", "transport": "webhook", "url": "https://192.0.2.7/"}
        await server.http.post("/api/event-destinations", json=body, headers=admin)
        await server.http.patch("/api/event-destinations/siem", json={"paused": True}, headers=admin)

        def found(after):
            settings = {"LYFTDATA_STAGING_DIR": str(tmp_path / "staging"), "LYFTDATA_PUBLIC_URL": ISSUER}
            return [
                (finding.check.code, finding.fix)
                for finding in database.check_database(
                    read_server_settings(settings), now=server.clock() + after
                )
            ]

        assert await asyncio.to_thread(found, timedelta(minutes=59)) == []
        assert await asyncio.to_thread(found, timedelta(hours=1)) == [
            ("events_paused", "lyftdata events resume siem")
        ]


async def test_events_that_are_not_delivered_are_found(opened, tmp_path):
    """With the last error, and how many were lost."""
    async with opened() as server:
        admin = await server.sign_in()
        body = {"name": "siem", "transport": "webhook", "url": "https://127.0.0.1/"}
        await server.http.post("/api/event-destinations", json=body, headers=admin)
        await server.services.event_delivery.look()
        await server.services.event_delivery.wait_until_idle()

        def lose(tx):
            delivery = event_destinations.find_delivery(tx.conn, "siem")
            assert delivery is not None
            assert delivery.holder is not None
            lost = msgspec.structs.replace(delivery, lost=7)
            assert event_destinations.update_delivery(
                tx, lost, before=delivery.through, server_id=delivery.holder
            )

        await server.services.store.write(lose)
        found = await asyncio.to_thread(examined, tmp_path)

    assert list(found) == ["events_not_delivered", "events_lost"]
    assert "siem ever: 127.0.0.1:443 is an internal address" in found["events_not_delivered"].what
    assert found["events_lost"].what == "7 events were not delivered to siem."
