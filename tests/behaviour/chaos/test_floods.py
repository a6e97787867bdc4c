"""The whole fleet at once: a flood of wrong credentials, and a fleet that reconnects after a power cut."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.behaviour.chaos import report
from tests.behaviour.chaos.crowd import Flood, light_workers, running, site_with_a_fleet
from tests.behaviour.chaos.field import memory_of
from tests.behaviour.chaos.scale import FLOOD_LASTS_S, HONEST, MAX_FLOOD, MIN_FLOOD, RETURNING
from tests.lean_workers import LeanWorker, Tally, allow_many_connections, spread, until
from tests.processes import STARTED, Site

from lyftdata.server.runtime.data_dir import database_file

FLOODERS = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
# How much the Server's memory may grow in a flood; less than a tenth of this was measured.
MAX_GROWTH = 60 * 1024 * 1024
# The limits of written refusals, in a burst and per second: see `server/admission/refusal_log.py`.
MAX_KEPT_IN_A_ROW = 2_000
MAX_KEPT_PER_S = 50
TOKEN, POLL = "/oauth2/token", "/api/worker/session"


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """Stop every program that a test has started."""
    allow_many_connections()
    yield
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.kill()


@pytest.mark.slow
async def test_a_flood_of_wrong_credentials_does_not_affect_other_workers(tmp_path: Path):
    """
    Held polls stay held and every right credential gets a token, also from the addresses that flood.

    The records of refusals are bounded, in the store and in memory, and afterwards everything is as before.
    """
    site, credentials = await site_with_a_fleet(tmp_path, HONEST)
    tally, renewals = Tally(), Tally()
    async with running(light_workers(site, credentials, tally)):
        await until(lambda: len(tally.online) == HONEST, within_s=240, what="everybody is online")
        tally.answers.clear()
        before = memory_of(site.server.process.pid)
        begun = time.monotonic()

        flood = Flood(site, credentials, addresses=FLOODERS, most=MAX_FLOOD)
        flooding = asyncio.create_task(flood.run(callers=32))
        asking = light_workers(site, credentials, renewals, addresses=("127.0.0.1", *FLOODERS))
        await spread([partial(_get_token, worker, renewals) for worker in asking], at_once=8)
        await until(
            # Longer on a slow machine: until more was refused than is written in a burst.
            lambda: time.monotonic() - begun > FLOOD_LASTS_S and flood.answers.total() >= MIN_FLOOD,
            within_s=240,
            what="the flood lasts",
        )
        flood.is_over = True
        await flooding
        lasted_s = time.monotonic() - begun

        grown = memory_of(site.server.process.pid) - before
        await until(lambda: len(tally.online) == HONEST, within_s=240, what="everybody is still online")
        online = await asyncio.to_thread(_count_online, site)
        report.record(
            group="The whole fleet at once",
            fault="a flood of wrong credentials",
            load=f"{HONEST} connected Workers, {flood.answers.total()} wrong requests",
            lasted_s=round(lasted_s, 1),
            acknowledged=renewals.answers[f"{TOKEN} 200"],
            lost=HONEST - online,
            programs_ended="none run",
            recovered_s="at once",
        )
    assert set(flood.answers) <= {401, 429, 503}
    assert flood.answers[401] > 0
    assert flood.answers[429] > 0, "the addresses that flood were limited"
    # 503 asks any caller to retry while the machine is too busy, whatever its credential.
    assert set(tally.answers) <= {f"{kind} {status}" for kind in (TOKEN, POLL) for status in (200, 503)}
    assert renewals.answers[f"{TOKEN} 200"] == HONEST
    assert online == HONEST
    assert grown < MAX_GROWTH
    assert (
        0
        < _count_stored_refusals(site)
        < min(flood.answers.total(), MAX_KEPT_IN_A_ROW + MAX_KEPT_PER_S * lasted_s)
    )
    assert "Traceback" not in site.server.log


@pytest.mark.slow
async def test_a_whole_fleet_reconnects_by_itself_after_a_power_cut(tmp_path: Path):
    """The Server is killed and started again: no Worker is refused meanwhile, and all of them are online again."""
    site, credentials = await site_with_a_fleet(tmp_path, RETURNING)
    tally = Tally()
    async with running(light_workers(site, credentials, tally)):
        await until(lambda: len(tally.online) == RETURNING, within_s=240, what="everybody is online")
        begun = time.monotonic()
        tally.answers.clear()
        await asyncio.to_thread(site.server.kill)
        await until(lambda: not tally.online, within_s=240, what="everybody has noticed")
        await asyncio.to_thread(site.start_server)
        started = time.monotonic()
        await until(lambda: len(tally.online) == RETURNING, within_s=240, what="everybody is back")
        back = time.monotonic()
        online = await asyncio.to_thread(_count_online, site)
        report.record(
            group="The whole fleet at once",
            fault="a whole fleet comes back",
            load=f"{RETURNING} connected Workers, one Server killed",
            lasted_s=round(started - begun, 1),
            acknowledged=RETURNING,
            lost=RETURNING - online,
            programs_ended="none run",
            recovered_s=round(back - started, 1),
        )
    answers = {f"{kind} {status}" for kind in (TOKEN, POLL) for status in (200, 503)}
    assert set(+tally.answers) <= {"no connection", "nonce", *answers}
    assert online == RETURNING
    assert site.operator.json("audit", "verify")["ok"]
    assert "Traceback" not in site.server.log


async def _get_token(worker: LeanWorker, seen: Tally) -> None:
    while not worker.token:
        await worker.log_in()
        assert set(seen.answers) <= {f"{TOKEN} 200", f"{TOKEN} 503"}, "a right credential was refused"
    worker.disconnect()


def _count_online(site: Site) -> int:
    return sum(worker["status"] == "online" for worker in site.workers().values())


def _count_stored_refusals(site: Site) -> int:
    database = database_file(site.root / "server" / "staging")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM refusal_attempts").fetchone()[0])
