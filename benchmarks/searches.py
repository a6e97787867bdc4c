"""
How long a search of Workers takes in a large fleet.

    .venv/bin/python benchmarks/searches.py [WORKERS] [DATABASE_URL]

Puts so many Worker entries with traces into a database (SQLite in a temporary directory, unless a URL of an empty PostgreSQL
database is given), opens a Server's services on it, and runs each search five times. Prints the number of Workers found, the
median and the longest time, and of this process the median of the processor's time, which other programs do not make longer.
The last column is the longest time for which the event loop was not free.
"""

import asyncio
import logging
import secrets
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta

from lyftdata.core.records import Strategy, WorkerRecord, WorkerTraces
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.worker_query import parse_worker_query
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store import WriteTx
from lyftdata.store.tables import activity, workers

ROUNDS = 5
AT_ONCE = 1_000
SECRET_KEY = secrets.token_urlsafe(48)
SEARCHES = (
    "",
    "press-0007",
    "rack17-",
    "-gpu",
    "status:offline zone=eu-1",
    "host:rack17-",
    "host:rack",
    "address:10.0.4.0/24",
    "address:10.0.0.0/12",
    "version:<1.4",
    "seen:<1h",
    "seen:>7d",
    "key:press-keys-7",
    "host:rack1 status:offline zone=eu-1 -gpu seen:>1h key:press-* address:10.0.0.0/16 version:<1.4",
)


def write(tx: WriteTx, now: datetime, numbers: range) -> None:
    """Write entries with traces."""
    workers.insert_fresh(tx, [_entry(n, now) for n in numbers])
    activity.upsert_traces(tx, [_traces(n, now) for n in numbers])


def _entry(n: int, now: datetime) -> WorkerRecord:
    labels = {"zone": f"eu-{n % 4}", "rack": str(n % 400)} | ({"gpu": ""} if n % 10 == 0 else {})
    return WorkerRecord(
        id=f"w-{n:06}",
        name=f"press-{n:06}",
        strategy=Strategy.API_KEY,
        labels=labels,
        created_at=now - timedelta(days=100),
        created_by="operator:admin",
    )


def _traces(n: int, now: datetime) -> WorkerTraces:
    return WorkerTraces(
        worker_id=f"w-{n:06}",
        last_seen_at=now - timedelta(minutes=n % 20_000),
        address=f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}",
        api_key_name=f"press-keys-{n % 50}",
        host={
            "hostname": f"rack{n % 400}-node-{n}.example.com",
            "os": "Linux 6.12.48",
            "agent_version": f"1.{n % 6}.0",
        },
    )


async def longest_wait(stop: asyncio.Event) -> float:
    """Return for how long the event loop was not free at most, until it is told to stop."""
    longest = 0.0
    while not stop.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - began - 0.001)
    return longest


async def run(count: int, environ: dict[str, str]) -> None:
    """Write the fleet, search it, and print."""
    async with open_services(read_server_settings(environ)) as services:
        now = datetime.now(UTC)
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(count, start + AT_ONCE))
            await services.store.write(lambda tx, numbers=numbers: write(tx, now, numbers))  # type: ignore[misc]
        services.traces.seen |= {f"w-{n:06}" for n in range(count)}
        print(
            f"{count:,} Workers\n{'found':>8} {'median':>8} {'longest':>8} {'processor':>9} {'loop':>8}  search"
        )
        for search in SEARCHES:
            stop = asyncio.Event()
            waits = asyncio.create_task(longest_wait(stop))
            times, computed, found = [], [], 0
            for _ in range(ROUNDS):
                began, processor = time.perf_counter(), time.process_time()
                found = len(await services.worker_queries.find(parse_worker_query(search), scope=UNLIMITED))
                times.append(time.perf_counter() - began)
                computed.append(time.process_time() - processor)
            stop.set()
            loop_ms = await waits * 1000
            print(
                f"{found:>8} {statistics.median(times) * 1000:>5.0f} ms {max(times) * 1000:>5.0f} ms {statistics.median(computed) * 1000:>6.0f} ms {loop_ms:>5.0f} ms  {search or '(all)'}"
            )


def main() -> None:
    """Run on the database that is given."""
    logging.disable(logging.WARNING)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as root:
        environ = {"LYFTDATA_STAGING_DIR": f"{root}/staging", "LYFTDATA_SECRET_KEY": SECRET_KEY}
        if len(sys.argv) > 2:  # noqa: PLR2004 - the second argument
            environ["LYFTDATA_DATABASE_URL"] = sys.argv[2]
        asyncio.run(run(count, environ))


if __name__ == "__main__":
    main()
