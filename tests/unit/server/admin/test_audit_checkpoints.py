"""A Server signs checkpoints of its audit log, and detects at startup that the log was truncated or replaced by an older one."""

import asyncio
import contextlib
import shutil
import sqlite3
from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from tests.builders import NOON, SECRET_KEY, FakeClock

from lyftdata.core.audit_checkpoints import read_checkpoint, verify_checkpoint
from lyftdata.core.errors import ConflictError
from lyftdata.doctor.server import examine_server
from lyftdata.server.admin.audit_checkpoints import Occasion
from lyftdata.server.admin.kept_checkpoint import FILE
from lyftdata.server.runtime.audit_acceptance import accept, find_difference
from lyftdata.server.runtime.maintenance import read_state_location
from lyftdata.server.runtime.secret_keys import audit_key_of

# The same decision at another time is another event.
LATER = NOON + timedelta(hours=1)
AUDIT_KEY = audit_key_of(SECRET_KEY.encode())


def difference_of(place):
    """Return the difference, which must exist."""
    found = find_difference(place)
    assert found is not None
    return found


@pytest.fixture
def staging(tmp_path):
    """Return the Server's data directory."""
    return tmp_path / "staging"


@pytest.fixture
async def rolled_back(opened, staging):
    """Run a Server twice, and restore its database from the end of the first run; the saved checkpoint stays."""
    async with opened() as server:
        await server.sign_in()
        await server.services.checkpoints.sign(Occasion.HOUR)
    shutil.copy(staging / "lyftdata.db", staging / "earlier.db")
    async with opened() as server:
        await server.sign_in()
        await server.services.checkpoints.sign(Occasion.HOUR)
    for name in ("lyftdata.db-wal", "lyftdata.db-shm"):
        (staging / name).unlink(missing_ok=True)
    (staging / "earlier.db").replace(staging / "lyftdata.db")
    return read_checkpoint((staging / FILE).read_text())


async def test_checkpoints_are_signed_every_hour_and_at_shutdown(opened, staging):
    """Each is logged and saved in the data directory; the last one covers every event."""
    with capture_logs() as logs:
        async with opened() as server:
            first = await server.services.checkpoints.sign(Occasion.HOUR)
            await server.sign_in()
            length = server.services.store.audit_length
    lines = [line for line in logs if line["event"] == "audit_checkpoint_signed"]

    assert {line["occasion"] for line in lines} >= {"hour", "stop"}
    assert lines[-1]["size"] == length == first.size + 1
    kept = verify_checkpoint((staging / FILE).read_text(), audit_key=AUDIT_KEY)
    assert kept.size == length
    assert (staging / FILE).stat().st_mode & 0o777 == 0o600


async def test_the_first_checkpoint_is_signed_at_startup(opened, staging):
    """Before the Server answers a request."""
    async with opened() as server:
        metrics = (await server.http.get("/metrics")).text

    assert "lyftdata_audit_checkpoint_timestamp_seconds 0.0" not in metrics
    assert (staging / FILE).exists()


async def test_startup_does_not_wait_for_the_first_checkpoint_of_a_long_log(opened, monkeypatch):
    """It is signed in the background."""
    monkeypatch.setattr("lyftdata.server.admin.checkpoint_schedule._MAX_WAITED_FOR", -1)
    async with opened() as server:
        async with asyncio.timeout(180):
            while server.services.checkpoints.latest is None:
                await asyncio.sleep(0.01)


async def test_an_unchanged_log_is_intact_at_the_next_start(opened):
    """There is no warning, and the tree continues from the stored one."""
    for _ in range(3):
        async with opened() as server:
            admin = await server.sign_in()
            signed = (await server.http.get("/api/audit/checkpoint", headers=admin)).json()
            report = (await server.http.get("/api/audit/verify", headers=admin)).json()

            assert not server.services.checkpoints.problem
            assert signed["size"] == report["checked"]
            assert report["ok"]


async def test_a_database_that_was_rolled_back_is_detected_at_startup(opened, staging, rolled_back):
    """It is reported in the log, on the overview, in the metrics and by `doctor`; nothing is signed, and the evidence is kept."""
    with capture_logs() as logs:
        async with opened(FakeClock(LATER)) as server:
            admin = await server.sign_in()
            alerts = (await server.http.get("/api/attention", headers=admin)).json()["items"]
            refused = await server.http.get("/api/audit/checkpoint", headers=admin)
            metrics = (await server.http.get("/metrics")).text
    found = await examine_server(
        {"LYFTDATA_STAGING_DIR": str(staging), "LYFTDATA_BIND_ADDRESS": "127.0.0.1:1"}
    )

    (cut,) = [line for line in logs if line["event"] == "audit_log_cut"]
    assert f"a checkpoint of {rolled_back.size} events was signed" in cut["problem"]
    assert any("lyftdata admin accept-audit-log" in alert["title"] for alert in alerts)
    assert (refused.status_code, refused.json()["code"]) == (409, "audit_log_changed")
    assert "lyftdata_audit_log_intact 0.0" in metrics
    assert not [line for line in logs if line["event"] == "audit_checkpoint_signed"]
    assert read_checkpoint((staging / FILE).read_text()) == rolled_back
    assert [finding.check.code for finding in found].count("audit_log_cut") == 1


async def test_a_forged_removal_event_does_not_hide_a_rollback(opened, staging, rolled_back):
    """It claims that the last signed events were removed, but the log still begins with its first event."""
    with contextlib.closing(sqlite3.connect(staging / "lyftdata.db")) as database:
        database.execute(
            "UPDATE audit_events SET action = 'audit_log.pruned', details = ? WHERE number = 1",
            (f'{{"through": "{rolled_back.size + 1}"}}',),
        )
        database.execute("DELETE FROM audit_checkpoints")
        database.commit()

    place = read_state_location({"LYFTDATA_STAGING_DIR": str(staging)})
    assert difference_of(place).kept == rolled_back
    async with opened(FakeClock(LATER)) as server:
        assert server.services.checkpoints.problem
    assert read_checkpoint((staging / FILE).read_text()) == rolled_back


async def test_other_events_with_the_same_numbers_are_detected(opened, rolled_back):
    """A log that is as long as before, or longer, is not the same log."""
    async with opened(FakeClock(LATER)) as server:
        for _ in range(3):
            await server.sign_in()
    async with opened(FakeClock(LATER)) as server:
        assert server.services.store.audit_length > rolled_back.size
        assert f"first {rolled_back.size} events" in server.services.checkpoints.problem


async def test_an_accepted_log_continues_and_shows_what_was_lost(opened, staging, rolled_back):
    """The acceptance is an event with the saved checkpoint; the next start signs again, and the old file is renamed."""
    place = read_state_location({"LYFTDATA_STAGING_DIR": str(staging)})
    aside = accept(place, difference_of(place))

    assert find_difference(place) is None
    assert read_checkpoint(aside.read_text()) == rolled_back
    async with opened(FakeClock(LATER)) as server:
        signed = await server.services.checkpoints.sign(Occasion.HOUR)
        page = await server.services.audit_queries.list_page(limit=10, action="audit_log.accepted")
        assert not server.services.checkpoints.problem
        assert (await server.services.audit_queries.verify()).ok
    (event,) = page.items
    assert event.details["kept_size"] == str(rolled_back.size)
    assert event.details["kept_root"] == rolled_back.root.hex()
    assert event.actor == "host"
    assert signed.size >= event.number


async def test_a_difference_that_changed_since_it_was_shown_is_not_accepted(opened, staging, rolled_back):
    """The log has grown: what the operator confirmed is not what would be accepted."""
    place = read_state_location({"LYFTDATA_STAGING_DIR": str(staging)})
    shown = difference_of(place)
    async with opened(FakeClock(LATER)) as server:
        await server.sign_in()

    with pytest.raises(ConflictError, match="changed"):
        accept(place, shown)
    assert (staging / FILE).exists()


async def test_an_unreadable_checkpoint_file_is_not_overwritten(opened, staging):
    """It may be evidence: the Server reports it, and waits for an operator."""
    async with opened(FakeClock(LATER)) as server:
        await server.services.checkpoints.sign(Occasion.HOUR)
    (staging / FILE).write_text("not a checkpoint")
    async with opened(FakeClock(LATER)) as server:
        assert "cannot be read" in server.services.checkpoints.problem
    place = read_state_location({"LYFTDATA_STAGING_DIR": str(staging)})
    accept(place, difference_of(place))
    async with opened(FakeClock(LATER)) as server:
        await server.services.checkpoints.sign(Occasion.HOUR)


async def test_a_log_truncated_while_the_server_runs_is_not_signed(opened, staging):
    """Events signed in this run are missing: the Server reports it and signs nothing."""
    async with opened(FakeClock(LATER)) as server:
        await server.sign_in()
        signed = await server.services.checkpoints.sign(Occasion.HOUR)
        with contextlib.closing(sqlite3.connect(staging / "lyftdata.db")) as raw, raw:
            raw.execute("DELETE FROM audit_events WHERE number = ?", (signed.size,))

        with pytest.raises(ConflictError, match="does not contain them any more"):
            await server.services.checkpoints.sign(Occasion.HOUR)
        assert server.services.checkpoints.problem


async def test_a_full_data_directory_does_not_stop_the_server(opened, staging, monkeypatch):
    """The checkpoint is signed, logged and stored; the failure to save the file is logged."""
    monkeypatch.setattr("lyftdata.server.admin.kept_checkpoint.KeptCheckpoint.save", lambda *_: full_disk())
    with capture_logs() as logs:
        async with opened(FakeClock(LATER)) as server:
            await server.services.checkpoints.sign(Occasion.HOUR)

    assert "audit_checkpoint_not_kept" in {line["event"] for line in logs}
    assert not (staging / FILE).exists()


def full_disk():
    """Fail as a write to a full disk does."""
    raise OSError(28, "No space left on device")


async def test_the_key_is_published(server, admin):
    """Without signing in, and by the API; it is not in the JWK Set, so no verifier of tokens accepts it."""
    published = await server.http.get("/.well-known/lyftdata-audit-key")
    shown = (await server.http.get("/api/audit/key", headers=admin)).json()
    jwks = (await server.http.get("/.well-known/jwks.json")).json()

    assert published.text == f"{shown['key']}\n"
    assert shown["origin"] == "lyft.example/audit"
    assert all(key.get("crv") != "Ed25519" for key in jwks["keys"])
