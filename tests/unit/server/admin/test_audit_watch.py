"""The Server itself detects a tampered audit log, and reports it where operators look."""

import asyncio
import contextlib

import pytest
from sqlalchemy import NullPool, create_engine, text
from tests.builders import SECRET_KEY


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request, tmp_path):
    """Return the environment of a Server on each database, and the URL at which its state can be changed."""
    if request.param == "sqlite":
        return {}, f"sqlite:///{tmp_path / 'staging' / 'lyftdata.db'}"
    url = request.getfixturevalue("cluster").new_database()
    environ = {"LYFTDATA_DATABASE_URL": url, "LYFTDATA_SECRET_KEY": SECRET_KEY}
    return environ, url.replace("postgresql:", "postgresql+psycopg:")


def tamper(url: str, statement: str) -> None:
    """Change the database behind the Server's back."""
    with contextlib.closing(create_engine(url, poolclass=NullPool).connect()) as conn, conn.begin():
        conn.execute(text(statement))


async def checked(server):
    """Wait until the Server has checked its audit log by itself; return the gauge and the warnings about it."""
    await asyncio.wait_for(server.services.store.verify_audit(), 180)
    metrics = (await server.http.get("/metrics")).text
    [gauge] = [line for line in metrics.splitlines() if line.startswith("lyftdata_audit_log_intact ")]
    async with asyncio.timeout(180):
        while not gauge.endswith(" 1.0") and not warnings_of(server):
            await asyncio.sleep(0.01)
    return gauge.rpartition(" ")[2], warnings_of(server)


def warnings_of(server):
    """Return the warnings to operators about the audit log."""
    return [warning for warning in server.services.warnings if "audit log" in warning.lower()]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'operator:eve' WHERE number = 1",
        "UPDATE audit_events SET action = 'x' WHERE number = (SELECT max(number) FROM audit_events)",
        "DELETE FROM audit_events WHERE number = 2",
        "DELETE FROM audit_events WHERE number > 2",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET number = 1",
    ],
)
async def test_a_log_changed_while_the_server_was_down_is_detected(opened, state, statement):
    """A row changed, removed in the middle or at the end, or the record of the end changed: a warning, and the gauge is 0."""
    environ, url = state
    async with opened(**environ) as server:
        for _ in range(3):
            await server.sign_in()
    tamper(url, statement)

    async with opened(**environ) as server:
        gauge, warnings = await checked(server)

    assert gauge == "0.0"
    assert warnings
    assert "lyftdata audit verify" in warnings[-1]


async def test_an_unchanged_log_raises_no_warning(opened, state):
    """The gauge is 1, also after the next start."""
    environ, _ = state
    for _ in range(2):
        async with opened(**environ) as server:
            await server.sign_in()
            assert await checked(server) == ("1.0", [])


async def test_a_requested_check_updates_the_gauge(opened, state):
    """If it finds a change, the gauge of a running Server drops to 0."""
    environ, url = state
    async with opened(**environ) as server:
        admin = await server.sign_in()
        before = await checked(server)
        tamper(url, "UPDATE audit_events SET actor = 'operator:eve' WHERE number = 1")
        report = (await server.http.get("/api/audit/verify", headers=admin)).json()

        assert before[0] == "1.0"
        assert report["ok"] is False
        assert "lyftdata_audit_log_intact 0.0" in (await server.http.get("/metrics")).text


async def test_a_long_check_does_not_delay_shutdown(opened, monkeypatch):
    """A Server that stops during a check cancels it."""
    monkeypatch.setattr("lyftdata.store.audit_log._AT_ONCE", 1)
    monkeypatch.setattr("lyftdata.store.audit_check._REST_S", 3_600)
    async with asyncio.timeout(180):
        async with opened() as server:
            await server.sign_in()
            checking = asyncio.ensure_future(server.services.store.verify_audit())
            await asyncio.sleep(0)
        await asyncio.gather(checking, return_exceptions=True)
