"""
How long the UI's pages take with a large fleet.

    .venv/bin/python benchmarks/pages_with_10000_workers.py [WORKERS]

Puts Worker entries with traces, a key for each, a week of samples, refusals and audit events into a Server's
database, starts the Server as a process, signs in, and requests each page ten times over a kept-alive connection.
Prints median and maximum time until the last byte, and the size. Then the same for the overview when many tabs request
it at once, as they do after a change: until the last tab has it.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2

from lyftdata.core.records import (
    ApiKeyRecord,
    AuditEvent,
    RefusalAttempt,
    Sample,
    Strategy,
    WorkerRecord,
    WorkerTraces,
)
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store import WriteTx
from lyftdata.store.tables import activity, api_keys, refusals, samples, workers

PASSWORD = "correct horse battery"  # noqa: S105 - of this run alone
NEW_PASSWORD = "another horse battery"  # noqa: S105 - of this run alone
ROUNDS = 10
TABS = 20
# Longer than anything is cached, and longer than the window of the page limit.
_BETWEEN_ROUNDS_S = 2.0
PAGES = (
    "/",
    "/?period=week",
    "/workers",
    "/workers?page=100",
    "/workers?q=w-0007",
    "/workers?label=zone%3Deu-3&sort=status",
    "/workers?key=key-00007",
    "/workers/w-000700",
    "/add-worker",
    "/enrollment",
    "/api-keys",
    "/api-keys/key-00007",
    "/refusals",
    "/refusals?q=w-0007",
    "/audit",
    "/audit?subject=worker%3Aw-000700",
    "/operators",
)


def fill(tx: WriteTx, count: int, now: datetime) -> None:
    """Write everything that a Server with this many Workers would have."""
    for n in range(count):
        key = ApiKeyRecord(
            public_id=f"{n:010}",
            name=f"key-{n:05}",
            digest=bytes(32),
            for_all_workers=n % 2 == 0,
            worker_ids=() if n % 2 == 0 else (f"w-{n:06}",),
            created_at=now,
            created_by="operator:admin",
        )
        api_keys.insert_api_key(tx, key)
    seen = []
    for n in range(count):
        record = WorkerRecord(
            id=f"w-{n:06}",
            name=f"press {n:06}",
            strategy=Strategy.API_KEY,
            enabled=n % 50 != 0,
            labels={"zone": f"eu-{n % 7}", "line": str(n % 100)},
            created_at=now - timedelta(minutes=n),
            created_by="operator:admin",
        )
        workers.insert_worker(tx, record, unique_name=False)
        tx.audit(
            AuditEvent(
                at=now,
                actor="operator:admin",
                action="worker.created",
                subject=f"worker:{record.id}",
                details={"name": record.name},
            )
        )
        if n % 3:
            host = {
                "hostname": f"host-{n}",
                "os": "Linux",
                "python": "3.13.1",
                "agent_version": "0.1.0",
                "pid": "7",
            }
            seen.append(
                WorkerTraces(
                    worker_id=record.id,
                    last_seen_at=now - timedelta(minutes=n),
                    address="192.0.2.1",
                    api_key_name=f"key-{n:05}",
                    host=host,
                )
            )
    activity.upsert_traces(tx, seen)
    for minute in range(7 * 24 * 60):
        sample = Sample(
            at=now.replace(second=0, microsecond=0) - timedelta(minutes=minute),
            online=minute % 977,
            admitted=minute % 31,
            refused=minute % 7,
        )
        samples.add_sample(tx, sample, keep_since=now - timedelta(days=9))
    attempts = [
        RefusalAttempt(
            reference=f"{n:08}",
            code="wrong_api_key",
            at=now - timedelta(seconds=n),
            address=f"192.0.2.{n % 250}",
            claimed_worker=f"w-{n % 5_000:06}",
            detail="",
            proved=False,
        )
        for n in range(20_000)
    ]
    refusals.record_refusals(tx, attempts)


async def prepare(environ: dict[str, str], count: int) -> None:
    """Make the database."""
    async with open_services(read_server_settings(environ)) as services:
        await services.store.write(lambda tx: fill(tx, count, datetime.now(UTC)))


def measure(url: str) -> None:
    """Sign in and request every page."""
    ours = {"Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=url, headers=ours, timeout=60, trust_env=False) as http:
        until_ready(http)
        signed_in = http.post("/api/login", json={"username": "admin", "password": PASSWORD}).json()
        body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        http.post("/api/me/password", json=body, headers={"Authorization": f"Bearer {signed_in['token']}"})
        http.post("/login", data={"username": "admin", "password": NEW_PASSWORD})
        print(f"{'page':44} {'median ms':>10} {'max ms':>11} {'kB':>7}")
        for path in PAGES:
            times: list[float] = []
            size = 0
            for _ in range(ROUNDS):
                begin = time.perf_counter()
                answer = http.get(path)
                times.append((time.perf_counter() - begin) * 1000)
                size = len(answer.content)
                if answer.status_code != 200:  # noqa: PLR2004
                    sys.exit(f"{path}: {answer.status_code}")
            print(f"{path:44} {statistics.median(times):10.1f} {max(times):11.1f} {size / 1000:7.1f}")
        measure_tabs(url, http.cookies)


def measure_tabs(url: str, cookies: httpx2.Cookies) -> None:
    """Request the overview in many tabs at once."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(TABS) as pool:
        tabs = [
            stack.enter_context(httpx2.Client(base_url=url, cookies=cookies, timeout=60, trust_env=False))
            for _ in range(TABS)
        ]
        times = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            answers = list(pool.map(lambda tab: tab.get("/"), tabs))
            times.append((time.perf_counter() - begin) * 1000)
            if any(answer.status_code != 200 for answer in answers):  # noqa: PLR2004
                sys.exit("/: too many pages at once")
            time.sleep(_BETWEEN_ROUNDS_S)
    print(f"{f'/ in {TABS} tabs':44} {statistics.median(times):10.1f} {max(times):11.1f}")


def until_ready(http: httpx2.Client) -> None:
    """Wait for the Server."""
    for _ in range(600):
        try:
            if http.get("/readyz").status_code == 200:  # noqa: PLR2004
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    sys.exit("the Server did not start")


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as place:
        environ = {
            "LYFTDATA_STAGING_DIR": str(Path(place) / "staging"),
            "LYFTDATA_BIND_ADDRESS": "127.0.0.1:39871",
            "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
            "LYFTDATA_AUTO_ENROLLMENT_KEY": "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua",
        }
        asyncio.run(prepare(environ, count))
        print(f"{count:,} Workers")
        server = subprocess.Popen(
            [sys.executable, "-m", "lyftdata", "run", "server"],
            env=os.environ | environ,
            stderr=subprocess.DEVNULL,
        )
        try:
            measure("http://127.0.0.1:39871")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
