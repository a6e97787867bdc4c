"""
From an operator's "disable" until it takes effect: at this Server, at another, and for the program that a Worker runs.

    make bench-revocation        (BENCH_WORKERS, 200; BENCH_AGENTS, 10; BENCH_ROUNDS, 10)

Two Servers on one PostgreSQL database (Debian's, in a separate cluster with fsync), or one on SQLite if there is no
PostgreSQL; the Workers with programs are at a Server on SQLite.

Each time is measured from before the operator's request is sent. *verify*: until the first refusal by `/auth/verify`, which is
called without pause with the Worker's token. `told`: until the Worker's held poll is answered with the directive. *Program*:
until the process of a real agent's COMMAND is gone.
"""

import asyncio
import contextlib
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import uvloop
from benchmarks.fleets import PASSWORD, Fleet, answers
from benchmarks.harness import ASKING_CORE, save, serving
from tests.lean_workers import LeanWorker, Tally, spread, until
from tests.postgres import Cluster, find_programs
from tests.processes import Host, free_port

WORKERS = int(os.environ.get("BENCH_WORKERS", "200"))
AGENTS = int(os.environ.get("BENCH_AGENTS", "10"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "10"))
_SECRET_KEY = secrets.token_hex(32)


@contextlib.contextmanager
def database() -> Iterator[dict[str, str]]:
    """Yield the settings of Servers that share a database; none if there is no PostgreSQL."""
    if find_programs() is None:
        yield {}
        return
    cluster = Cluster(fsync="on")
    try:
        yield {
            "LYFTDATA_DATABASE_URL": cluster.new_database(),
            "LYFTDATA_SECRET_KEY": _SECRET_KEY,
            # The common name of both; here each is called at its own address.
            "LYFTDATA_PUBLIC_URL": "http://servers.example",
        }
    finally:
        cluster.close()


@contextlib.contextmanager
def servers(fleet: Fleet) -> Iterator[list[str]]:
    """Run the Server, and another one on the same database if it can be shared; yield their addresses."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(fleet.served())
        urls = [fleet.url]
        if "LYFTDATA_DATABASE_URL" in fleet.environ:
            url = f"http://127.0.0.1:{free_port()}"
            environ = fleet.environ | {
                "LYFTDATA_BIND_ADDRESS": url.removeprefix("http://"),
                "LYFTDATA_STAGING_DIR": str(fleet.place / "other"),
            }
            command = [sys.executable, "-m", "lyftdata", "run", "server"]
            stack.enter_context(
                serving(
                    command,
                    log=fleet.place / "other.log",
                    is_ready=lambda: answers(f"{url}/readyz"),
                    environ=environ,
                )
            )
            urls.append(url)
        yield urls


@contextlib.asynccontextmanager
async def operator(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client with an operator's session."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        answer = await http.post("/api/login", json={"username": "admin", "password": PASSWORD})
        http.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield http


async def at_servers(fleet: Fleet, urls: list[str]) -> dict[str, list[float]]:
    """Disable Workers one by one; return the milliseconds until each Server refuses, and until each Worker is notified."""
    tally = Tally()
    notified_at: dict[str, float] = {}
    host, _, port = urls[-1].removeprefix("http://").partition(":")
    lean_workers = [LeanWorker(*key, host=host, port=int(port), tally=tally) for key in fleet.keys]
    await spread([worker.log_in for worker in lean_workers], at_once=16)

    def note(worker_id: str, _status: int, body: dict[str, Any]) -> None:
        if body.get("directives"):
            notified_at.setdefault(worker_id, time.perf_counter())

    tally.on_answer = note
    tasks = [asyncio.create_task(worker.run()) for worker in lean_workers]
    await until(lambda: len(tally.online) == len(lean_workers), within_s=60, what="all online")
    await asyncio.sleep(3)
    found: dict[str, list[float]] = {name: [] for name in (*map(_verified_at, range(len(urls))), "told")}
    async with operator(urls[0]) as admin, contextlib.AsyncExitStack() as stack:
        checkers = [
            await stack.enter_async_context(httpx2.AsyncClient(base_url=url, trust_env=False)) for url in urls
        ]
        for worker in lean_workers:
            tokens = {"Authorization": f"Bearer {worker.token}"}
            begin = time.perf_counter()
            watching = [asyncio.create_task(_first_refusal(checker, tokens)) for checker in checkers]
            answer = await admin.patch(f"/api/workers/{worker.worker_id}", json={"enabled": False})
            answer.raise_for_status()
            for number, at in enumerate(await asyncio.gather(*watching)):
                found[_verified_at(number)].append((at - begin) * 1000)
            await until(lambda w=worker: w.worker_id in notified_at, within_s=10, what="told")  # type: ignore[misc]
            found["told"].append((notified_at[worker.worker_id] - begin) * 1000)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def _verified_at(number: int) -> str:
    return "verify, the same Server" if number == 0 else "verify, another Server"


async def _first_refusal(http: httpx2.AsyncClient, headers: dict[str, str]) -> float:
    while (await http.get("/auth/verify", headers=headers)).status_code == 204:  # noqa: PLR2004
        pass
    return time.perf_counter()


async def programs(fleet: Fleet, url: str, place: Path) -> list[float]:
    """Disable real Workers one by one, in several rounds; return the milliseconds until each Worker's program is gone."""
    agents = []
    for worker_id, key in fleet.keys[:AGENTS]:
        host = Host(
            place / worker_id,
            LYFTDATA_URL=url,
            LYFTDATA_JOBS_DIR=str(place / worker_id / "jobs"),
            LYFTDATA_WORKER_ID=worker_id,
            LYFTDATA_WORKER_API_KEY=key,
        )
        agents.append((worker_id, host.start("run", "worker", "--", "sleep", "3600")))
    taken = []
    try:
        async with operator(url) as admin:
            for _ in range(ROUNDS):
                for worker_id, agent in agents:
                    pid = agent.process.pid
                    await until(lambda p=pid: bool(_children(p)), within_s=60, what="the program's start")  # type: ignore[misc]
                    (child,) = _children(pid)
                    begin = time.perf_counter()
                    asking = asyncio.create_task(
                        admin.patch(f"/api/workers/{worker_id}", json={"enabled": False})
                    )
                    while Path(f"/proc/{child}").exists():
                        await asyncio.sleep(0.001)
                    taken.append((time.perf_counter() - begin) * 1000)
                    (await asking).raise_for_status()
                    (
                        await admin.patch(f"/api/workers/{worker_id}", json={"enabled": True})
                    ).raise_for_status()
    finally:
        for _, agent in agents:
            agent.terminate()
    return taken


def _children(pid: int) -> list[int]:
    return [
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ]


def summary(times_ms: list[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum."""
    cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
    return {"samples": len(times_ms), "median_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(times_ms)}


def main() -> None:
    """Measure, and write the result."""
    os.sched_setaffinity(0, {int(ASKING_CORE)})
    with tempfile.TemporaryDirectory() as directory, database() as shared:
        fleet = Fleet(Path(directory) / "ours", by_key=WORKERS, environ=shared)
        with servers(fleet) as urls:
            times = uvloop.run(at_servers(fleet, urls))
        lean_workers = Fleet(Path(directory) / "agents", by_key=AGENTS)
        with lean_workers.served():
            times["the Worker's program is gone"] = uvloop.run(
                programs(lean_workers, lean_workers.url, Path(directory))
            )
    found = {name: summary(taken) for name, taken in times.items()}
    for name, numbers in found.items():
        print(f"{name:30} {json.dumps({key: round(value, 1) for key, value in numbers.items()})}")
    save("revocation", {"found": found, "times_ms": times})


if __name__ == "__main__":
    main()
