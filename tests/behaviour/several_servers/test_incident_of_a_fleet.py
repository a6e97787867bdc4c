"""Cutting off a whole fleet at two Servers after a secret leaked."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from tests.builders import SECRET_KEY
from tests.fleets import add_enrolled, insert_rows, key_row, worker_record
from tests.lean_workers import LeanWorker, Tally, allow_many_connections, spread, until
from tests.postgres import Cluster
from tests.processes import PASSWORD, Host, Site, end_started, free_port
from tests.processes import until as wait_until

from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.records import Strategy
from lyftdata.server.clock import random_bytes
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store import WriteTx, schema
from lyftdata.store.rows import to_row

OF_EACH = 500


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """Stop every program that a test has started."""
    allow_many_connections()
    yield
    end_started()


def add_with_one_key(tx: WriteTx) -> list[tuple[str, str]]:
    """Add Workers that share an API key; return IDs and the key."""
    key = generate_api_key(random_bytes)
    records = [worker_record(number, "w", Strategy.API_KEY) for number in range(OF_EACH)]
    insert_rows(tx, schema.workers, [to_row(record) for record in records])
    tx.conn.execute(insert(schema.api_keys), key_row(key, "fleet-key", for_all=True))
    return [(record.id, key.text.reveal()) for record in records]


@contextlib.asynccontextmanager
async def connected(lean_workers: list[LeanWorker], tally: Tally) -> AsyncIterator[None]:
    """Run Workers until the end of the block, which begins when all are connected."""
    await spread([worker.log_in for worker in lean_workers], at_once=32)
    tasks = [asyncio.create_task(worker.run()) for worker in lean_workers]
    try:
        await until(lambda: len(tally.online) == len(lean_workers), within_s=240, what="all are connected")
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def all_known(operator: Host) -> dict[str, Any]:
    """Return the report once the Server that answers knows which Workers are connected to the other."""

    def complete_report() -> dict[str, Any] | None:
        # A thousand Workers that connect at once keep the database busy, and the command may time out.
        answer = operator.run("incident", "127.0.0.0/8", "--json")
        report: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {"connected": 0}
        return report if report["connected"] == 2 * OF_EACH else None

    found: dict[str, Any] = wait_until(complete_report, "all are known to be connected", every_s=1)
    return found


@pytest.mark.slow
async def test_cutting_off_an_incident_disconnects_every_worker_at_every_server(
    cluster: Cluster, tmp_path: Path
):
    """
    A thousand Workers, half of each strategy and half at each Server: each is notified, and none is connected any more.

    The duration is printed and not asserted: `benchmarks/revocation.py` is for quiet machines.
    """
    url = cluster.new_database()
    given = {
        "LYFTDATA_DATABASE_URL": url,
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
        "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
    }
    first_start = {
        "LYFTDATA_STAGING_DIR": str(tmp_path / "first-start"),
        "LYFTDATA_PUBLIC_URL": "http://127.0.0.1:1",
    }
    async with open_services(read_server_settings(given | first_start)) as services:
        by_key = await services.store.write(add_with_one_key)
        enrolled = await services.store.write(lambda tx: add_enrolled(tx, range(OF_EACH)))
    site = await asyncio.to_thread(Site, tmp_path, **given)
    port = free_port()
    second = Host(
        tmp_path / "second",
        **given,
        LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{port}",
        LYFTDATA_PUBLIC_URL=site.url,
        LYFTDATA_STAGING_DIR=str(tmp_path / "second" / "staging"),
    )
    await asyncio.to_thread(lambda: second.start("run", "server").wait_for("ready"))
    tally, out_at = Tally(), dict[str, float]()

    def note(worker_id: str, status: int, body: dict[str, Any]) -> None:
        # A held poll is answered with the directive; a Worker between two polls gets it at the next one.
        is_stopped = any(directive["kind"] == "stop" for directive in body.get("directives", []))
        if is_stopped or status in {401, 403}:
            out_at.setdefault(worker_id, time.monotonic())

    tally.on_answer = note
    lean_workers = [LeanWorker(*each, host="127.0.0.1", port=site.port, tally=tally) for each in enrolled]
    lean_workers += [LeanWorker(*each, host="127.0.0.1", port=port, tally=tally) for each in by_key]
    async with connected(lean_workers, tally):
        operator = await asyncio.to_thread(site.sign_in)
        report = await asyncio.to_thread(all_known, operator)
        assert report["workers_total"] == 2 * OF_EACH
        mistyped = await asyncio.to_thread(
            operator.run, "incident", "127.0.0.0/8", "--cut-off", "mistyped", "--yes"
        )
        assert mistyped.returncode == 1
        assert "'mistyped'" in mistyped.stderr
        begin_s = time.monotonic()
        done = await asyncio.to_thread(operator.json, "incident", "127.0.0.0/8", "--cut-off", "all", "--yes")
        await until(lambda: len(out_at) == len(lean_workers), within_s=180, what="each is out")
        print(f"the last of {len(lean_workers)} was out after {max(out_at.values()) - begin_s:.2f} s")

    assert (done["workers"], done["still_connected"]) == (2 * OF_EACH, 0)
    after = await asyncio.to_thread(operator.json, "incident", "127.0.0.0/8")
    assert after["connected"] == 0
    assert {worker["state"] for worker in after["workers"]} == {"disabled"}
    assert [one["number"] for one in after["cut_offs"]] == [done["number"]]
