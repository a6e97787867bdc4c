"""
How long a search of Workers takes in a large fleet.

    .venv/bin/python benchmarks/searches.py [WORKERS] [DATABASE_URL]

Puts Worker entries with traces into a database (SQLite in a temporary directory, unless the URL of an empty PostgreSQL
database is given), opens a Server on it without sockets, signs in, and runs each search three times: `GET /api/workers`, a
page of a hundred, and `GET /workers`, the page of the UI with its first fifty. Prints the number of Workers found, and for both
the median time and the median of this process's CPU time, which other programs do not affect. The last column is the
longest time for which the event loop was blocked.
"""

import asyncio
import logging
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import httpx2

from lyftdata.app import create_app
from lyftdata.core.records import ApiKeyRecord, Strategy, WorkerRecord, WorkerTraces
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services
from lyftdata.store import WriteTx
from lyftdata.store.tables import activity, api_keys, workers

ROUNDS = 3
KEYS = 50
AT_ONCE = 1_000
PAUSE_S = 0.5
URL = "http://localhost:3000"
SECRET_KEY = secrets.token_urlsafe(48)
FIRST_PASSWORD, PASSWORD = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
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


def write_keys(tx: WriteTx, now: datetime) -> None:
    """Write the API keys that the Workers have used."""
    for n in range(KEYS):
        record = ApiKeyRecord(
            public_id=f"{n:010}",
            name=f"press-keys-{n}",
            digest=secrets.token_bytes(32),
            for_all_workers=True,
            created_at=now,
            created_by="operator:admin",
        )
        api_keys.insert_api_key(tx, record)


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
        api_key_name=f"press-keys-{n % KEYS}",
        host={
            "hostname": f"rack{n % 400}-node-{n}.example.com",
            "os": "Linux 6.12.48",
            "agent_version": f"1.{n % 6}.0",
        },
    )


async def longest_wait(stop: asyncio.Event) -> float:
    """Return the longest time for which the event loop was blocked, until `stop` is set."""
    longest = 0.0
    while not stop.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - began - 0.001)
    return longest


async def sign_in(http: httpx2.AsyncClient, password: str) -> str:
    """Change the first password and sign in to the UI; return an API session's token."""
    name = {"username": "admin"}
    first = (await http.post("/api/login", json=name | {"password": password})).raise_for_status().json()
    changed = {"current_password": password, "new_password": PASSWORD}
    bearer = {"Authorization": f"Bearer {first['token']}"}
    (await http.post("/api/me/password", json=changed, headers=bearer)).raise_for_status()
    again = (await http.post("/api/login", json=name | {"password": PASSWORD})).raise_for_status().json()
    page = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}
    await http.post("/login", data=name | {"password": PASSWORD}, headers=page)
    return str(again["token"])


async def timed(ask: Callable[[], Awaitable[httpx2.Response]]) -> tuple[float, float, httpx2.Response]:
    """Return the median time and CPU time of some requests in milliseconds, and the last answer."""
    times, computed = [], []
    answer = await ask()
    for _ in range(ROUNDS):
        began, processor = time.perf_counter(), time.process_time()
        answer = (await ask()).raise_for_status()
        times.append(time.perf_counter() - began)
        computed.append(time.process_time() - processor)
        # So that no answer is shared with the next round, and the operator's rate limit refills.
        await asyncio.sleep(PAUSE_S)
    return statistics.median(times) * 1000, statistics.median(computed) * 1000, answer


async def run(count: int, environ: dict[str, str]) -> None:
    """Write the fleet, search it, and print."""
    async with open_services(read_server_settings(environ)) as services:
        now = datetime.now(UTC)
        await services.store.write(lambda tx: write_keys(tx, now))
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(count, start + AT_ONCE))
            await services.store.write(lambda tx, numbers=numbers: write(tx, now, numbers))  # type: ignore[misc]
        services.traces.seen |= {f"w-{n:06}" for n in range(count)}
        transport = httpx2.ASGITransport(create_app(services))
        async with httpx2.AsyncClient(transport=transport, base_url=URL) as http:
            bearer = {
                "Authorization": f"Bearer {await sign_in(http, environ['LYFTDATA_ADMIN_INIT_PASSWORD'])}"
            }
            database = "PostgreSQL" if services.store.is_shared else "SQLite"
            print(f"{count:,} Workers, {database}; time (CPU time)")
            print(f"{'found':>8} {'GET /api/workers':>18} {'GET /workers':>18} {'loop':>8}  search")
            for search in SEARCHES:
                stop = asyncio.Event()
                waits = asyncio.create_task(longest_wait(stop))
                query = {"q": search} if search else {}
                by_api = await timed(lambda: http.get("/api/workers", params=query, headers=bearer))  # noqa: B023 - awaited here
                by_page = await timed(lambda: http.get("/workers", params=query))  # noqa: B023
                stop.set()
                loop_ms = await waits * 1000
                texts = [f"{took:>6.0f} ({computed:>4.0f}) ms" for took, computed, _ in (by_api, by_page)]
                print(
                    f"{by_api[2].json()['total']:>8} {texts[0]:>18} {texts[1]:>18} {loop_ms:>5.0f} ms  {search or '(all)'}"
                )


def main() -> None:
    """Run on the given database."""
    logging.disable(logging.WARNING)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as root:
        environ = {
            "LYFTDATA_STAGING_DIR": f"{root}/staging",
            "LYFTDATA_SECRET_KEY": SECRET_KEY,
            "LYFTDATA_PUBLIC_URL": URL,
            "LYFTDATA_ADMIN_INIT_PASSWORD": FIRST_PASSWORD,
        }
        if len(sys.argv) > 2:  # noqa: PLR2004 - the second argument
            environ["LYFTDATA_DATABASE_URL"] = sys.argv[2]
        asyncio.run(run(count, environ))


if __name__ == "__main__":
    main()
