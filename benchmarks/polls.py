"""
Ten thousand connected Workers on one Server process: memory per Worker, and how soon all are notified of a stop.

    make bench-polls        (BENCH_WORKERS, 10000; BENCH_ROUNDS, 3)

Real long polls on real connections. Memory is the growth of the Server's resident memory from the last token issued
until all are connected, divided by the number of Workers. The CPU time of a poll includes its connection.
Two kinds of stop: the API key that all of them share is revoked (each gets the cause, with a reference that operators can
look up), and the Server itself is stopped (each gets 503 with Retry-After).
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import uvloop
from benchmarks.fleets import PASSWORD, Fleet
from benchmarks.harness import ASKING_CORE, save
from tests.lean_workers import LeanWorker, Tally, allow_many_connections, spread, until

WORKERS = int(os.environ.get("BENCH_WORKERS", "10000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


def sign_in(url: str) -> dict[str, str]:
    """Return the headers of an operator's session."""
    signed_in = _post(f"{url}/api/login", {"username": "admin", "password": PASSWORD}, {})
    return {"Authorization": f"Bearer {signed_in['token']}"}


def _post(url: str, body: dict[str, Any], headers: dict[str, str], method: str = "POST") -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}, method=method
    )
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


async def one_round(place: Path, stop: str) -> dict[str, float]:
    """Connect all Workers, stop them in one of the two ways, and return the measurements."""
    fleet = await asyncio.to_thread(Fleet, place, by_key=WORKERS, one_key=True)
    tally = Tally()
    notified_at: dict[str, float] = {}
    with fleet.served() as served:
        host, port = fleet.address
        lean_workers = [
            LeanWorker(worker_id, key, host=host, port=port, tally=tally) for worker_id, key in fleet.keys
        ]
        await spread([worker.log_in for worker in lean_workers], at_once=64)
        for worker in lean_workers:
            worker.disconnect()
        await asyncio.sleep(3)
        before_kb, before_cpu_s = served.resident_kb(), served.cpu_s()
        tally.requests.clear()
        begin = time.monotonic()
        tasks = []
        for number, worker in enumerate(lean_workers):
            tasks.append(asyncio.create_task(worker.run()))
            if number % 64 == 0:
                await asyncio.sleep(0.02)
        connected_s = await until(lambda: len(tally.online) == WORKERS, within_s=180, what="all online")
        connected_s = time.monotonic() - begin
        # After the first answer, every Worker polls again and is held.
        await asyncio.sleep(4)
        held_kb = served.resident_kb()
        poll_cpu_us = (served.cpu_s() - before_cpu_s) / tally.requests.total() * 1e6

        def note(worker_id: str, status: int, body: dict[str, Any]) -> None:
            # A Worker between two polls gets it at the next one: 401, or a refused connection.
            if status != 200 or body.get("directives"):  # noqa: PLR2004
                notified_at.setdefault(worker_id, time.monotonic())

        tally.on_answer = note
        begin = time.monotonic()
        if stop == "key":
            admin = await asyncio.to_thread(sign_in, fleet.url)
            begin = time.monotonic()
            asking = asyncio.create_task(
                asyncio.to_thread(_post, f"{fleet.url}/api/api-keys/{fleet.key_name}/revoke", {}, admin)
            )
        else:
            served.process.terminate()
            asking = None
        await until(lambda: len(notified_at) == WORKERS, within_s=30, what="all notified")
        taken = sorted(at - begin for at in notified_at.values())
        if asking is not None:
            await asking
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "poll_cpu_us": poll_cpu_us,
        "kb_each": (held_kb - before_kb) / WORKERS,
        "connected_s": connected_s,
        "first_told_s": taken[0],
        "median_told_s": statistics.median(taken),
        "all_told_s": taken[-1],
    }


def main() -> None:
    """Measure, and write the result."""
    allow_many_connections()
    os.sched_setaffinity(0, {int(ASKING_CORE)})
    seen: dict[str, list[dict[str, float]]] = {"key": [], "server": []}
    for number in range(ROUNDS):
        for stop, rounds in seen.items():
            with tempfile.TemporaryDirectory() as directory:
                found = uvloop.run(one_round(Path(directory) / "ours", stop))
            rounds.append(found)
            shown = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"round {number + 1}  stop by {stop:8}  {shown}", flush=True)
    middle = {
        f"stop by {stop}": {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        for stop, rounds in seen.items()
    }
    save("polls", {"workers": WORKERS, "medians": middle, "rounds": seen})


if __name__ == "__main__":
    main()
