"""
A Server as one process and as two, at one address on PostgreSQL: tokens, and how soon a change applies in the other process.

    make bench-processes     (BENCH_SECONDS a round, 6; BENCH_ROUNDS, 5; BENCH_WORKERS, 2000)

Tokens by API key, 64 kept-alive connections, both Servers on one database, in turn. One process has one core, and the load the
other. Two processes have both cores and share them with the load. So there are two numbers: the measured rates, and the ratio
by CPU time for two whole cores, which is twice the time per token with one process divided by the time with two. The database
is not counted, since such tokens do not need it.

Each revocation is timed from before the operator's request to one process until the first refusal by `/auth/verify`, which is
called without pause, at the other.
"""

import asyncio
import contextlib
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
from benchmarks.fleets import PASSWORD, Fleet, answers
from benchmarks.harness import ASKING_CORE, SERVING_CORE, Served, in_turn, medians, save, serving, wrk
from tests.postgres import Cluster
from tests.processes import free_port

SECONDS = int(os.environ.get("BENCH_SECONDS", "6"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "2000"))
REVOCATIONS = int(os.environ.get("BENCH_REVOCATIONS", "100"))
_WARM_UP_S = 2
ONE, TWO = "one process", "two processes"


@contextlib.contextmanager
def served(fleet: Fleet, processes: int, cores: str) -> Iterator[tuple[Served, str]]:
    """Run a Server with a number of processes; yield it and its address."""
    url = f"http://127.0.0.1:{free_port()}"
    log = fleet.place / f"{processes}.log"
    environ = fleet.environ | {
        "LYFTDATA_BIND_ADDRESS": url.removeprefix("http://"),
        "LYFTDATA_STAGING_DIR": str(fleet.place / f"staging-{processes}"),
        "LYFTDATA_PROCESSES": str(processes),
        "LYFTDATA_SHUTDOWN_DELAY": "0s",
    }

    def is_ready() -> bool:
        return answers(f"{url}/readyz") and log.read_text().count('"event": "ready"') == processes

    command = [sys.executable, "-m", "lyftdata", "run", "server"]
    with serving(command, log=log, is_ready=is_ready, environ=environ, cores=cores) as running:
        yield running, url


async def revocations(fleet: Fleet, url: str) -> list[float]:
    """Disable Workers at one process; return the milliseconds until the other refuses each Worker's token."""
    async with contextlib.AsyncExitStack() as stack:
        lines: dict[str, httpx2.AsyncClient] = {}
        headers: dict[str, str] = {}
        while len(lines) < 2:  # noqa: PLR2004 - the processes
            line = await stack.enter_async_context(
                httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30)
            )
            if not headers:
                answer = await line.post("/api/login", json={"username": "admin", "password": PASSWORD})
                headers = {"Authorization": f"Bearer {answer.json()['token']}"}
            items = (await line.get("/api/servers", headers=headers)).json()["items"]
            [this] = [server["id"] for server in items if server["is_this"]]
            lines.setdefault(this, line)
        admin, other = lines.values()
        found = []
        for worker_id, key in fleet.keys[:REVOCATIONS]:
            form = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key}
            token = (await other.post("/oauth2/token", data=form)).json()["access_token"]
            begun = time.perf_counter()
            watching = asyncio.create_task(_refused_at(other, {"Authorization": f"Bearer {token}"}))
            disabled = await admin.patch(
                f"/api/workers/{worker_id}", json={"enabled": False}, headers=headers
            )
            disabled.raise_for_status()
            found.append((await watching - begun) * 1000)
            # Not faster than an operator's rate limit allows.
            await asyncio.sleep(0.05)
        return found


async def _refused_at(http: httpx2.AsyncClient, headers: dict[str, str]) -> float:
    while (await http.get("/auth/verify", headers=headers)).status_code == 204:  # noqa: PLR2004
        pass
    return time.perf_counter()


def main() -> None:
    """Measure, and write the result."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = Cluster()
        stack.callback(cluster.close)
        shared = {
            "LYFTDATA_DATABASE_URL": cluster.new_database(),
            "LYFTDATA_SECRET_KEY": secrets.token_hex(32),
            "LYFTDATA_PUBLIC_URL": "http://servers.example",
        }
        fleet = Fleet(place / "fleet", by_key=WORKERS, environ=shared)
        bodies = fleet.post_bodies()
        one, one_url = stack.enter_context(served(fleet, 1, SERVING_CORE))
        two, two_url = stack.enter_context(served(fleet, 2, f"{SERVING_CORE},{ASKING_CORE}"))
        load = partial(wrk, "tokens.lua")
        measures = {
            ONE: partial(load, f"{one_url}/oauth2/token", bodies, seconds=SECONDS, served=one),
            TWO: partial(load, f"{two_url}/oauth2/token", bodies, seconds=SECONDS, served=two),
        }
        for measure in measures.values():
            measure(seconds=_WARM_UP_S)
        seen = in_turn(measures, rounds=ROUNDS)
        took_ms = sorted(asyncio.run(revocations(fleet, two_url)))
    found = medians(seen)
    by_round = [2 * a["cpu_us_each"] / b["cpu_us_each"] for a, b in zip(seen[ONE], seen[TWO], strict=True)]
    save(
        "processes",
        {
            "workers": WORKERS,
            "seconds": SECONDS,
            "rounds": ROUNDS,
            "medians": found,
            "rate_ratio": found[TWO]["per_s"] / found[ONE]["per_s"],
            "ratio_by_cpu_time": statistics.median(by_round),
            "revocation": {
                "samples": len(took_ms),
                "median_ms": statistics.median(took_ms),
                "p99_ms": took_ms[int(0.99 * (len(took_ms) - 1))],
                "max_ms": took_ms[-1],
            },
        },
    )


if __name__ == "__main__":
    main()
