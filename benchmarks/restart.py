"""
All back after a restart: ten thousand connected Workers lose their Server, which restarts immediately.

    make bench-restart        (BENCH_WORKERS, 10000; BENCH_ROUNDS, 3; BENCH_WATCH_S, 70)

Lean Workers that follow the agent's rules (its `Backoff`, the intervals that the Server gives) over real connections. Measured
from the signal to stop the Server: the time until it answers again, until half and until all are online, the requests in
each second (the load on a Server that comes back, and whether polls stay synchronised), and every answer that was neither
success nor 503.
"""

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from benchmarks.fleets import Fleet
from benchmarks.harness import ASKING_CORE, save
from benchmarks.plots import lines
from tests.lean_workers import LeanWorker, Tally, allow_many_connections, spread, until

WORKERS = int(os.environ.get("BENCH_WORKERS", "10000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WATCH_S = int(os.environ.get("BENCH_WATCH_S", "70"))
_EXPECTED = {"no connection", "/oauth2/token 200", "/api/worker/session 200", "/api/worker/session 503"}


async def one_round(place: Path) -> dict[str, Any]:
    """Connect all Workers, restart the Server, and return the measurements."""
    fleet = await asyncio.to_thread(Fleet, place, by_key=WORKERS)
    tally = Tally()
    host, port = fleet.address
    lean_workers = [LeanWorker(*key, host=host, port=port, tally=tally) for key in fleet.keys]
    running = fleet.served()
    await asyncio.to_thread(running.__enter__)
    await spread([worker.log_in for worker in lean_workers], at_once=64)
    tasks = []
    for number, worker in enumerate(lean_workers):
        tasks.append(asyncio.create_task(worker.run()))
        if number % 64 == 0:
            await asyncio.sleep(0.02)
    await until(lambda: len(tally.online) == WORKERS, within_s=180, what="all online")
    await asyncio.sleep(3)
    tally.answers.clear()
    tally.requests.clear()
    tally.online.clear()
    begin = time.monotonic()
    # The Server notifies every Worker when it stops. It is then restarted as by a service manager.
    await asyncio.to_thread(running.__exit__, None, None, None)
    running = fleet.served()
    await asyncio.to_thread(running.__enter__)
    ready_s = time.monotonic() - begin
    try:
        await until(lambda: len(tally.online) >= WORKERS / 2, within_s=120, what="half of them back")
        half_s = time.monotonic() - begin
        await until(lambda: len(tally.online) == WORKERS, within_s=180, what="all back")
        all_s = time.monotonic() - begin
        settled = int(time.monotonic()) + 3
        await asyncio.sleep(WATCH_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(running.__exit__, None, None, None)
    seconds = tally.per_second(begin)
    after = seconds[settled - int(begin) : -1]
    return {
        "ready_s": ready_s,
        "half_back_s": half_s,
        "all_back_s": all_s,
        "peak_requests_per_s": max(seconds),
        "mean_requests_per_s_after": statistics.mean(after),
        "peak_requests_per_s_after": max(after),
        "unexpected_answers": sum(n for kind, n in tally.answers.items() if kind not in _EXPECTED),
        "answers": dict(tally.answers),
        "requests_by_second": seconds,
    }


def main() -> None:
    """Measure; write the result and the plot."""
    allow_many_connections()
    os.sched_setaffinity(0, {int(ASKING_CORE)})
    rounds = []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as directory:
            found = uvloop.run(one_round(Path(directory) / "ours"))
        rounds.append(found)
        shown = {key: value for key, value in found.items() if key != "requests_by_second"}
        print(f"round {number + 1}  {shown}", flush=True)
    names = [name for name, value in rounds[0].items() if isinstance(value, float | int)]
    middle = {name: statistics.median(found[name] for found in rounds) for name in names}
    save("restart", {"workers": WORKERS, "medians": middle, "rounds": rounds})
    series = {
        f"round {number + 1}": (list(range(len(found["requests_by_second"]))), found["requests_by_second"])
        for number, found in enumerate(rounds)
    }
    lines("restart", series, title=f"{WORKERS:,} Workers come back after a restart", dots=False,
          x_label="seconds since the Server was told to stop", y_label="requests/s")  # fmt: skip


if __name__ == "__main__":
    main()
