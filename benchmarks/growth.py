"""
What a token costs as the fleet grows from 100 to 100,000 entries, each with its own key.

    make bench-growth        (BENCH_SECONDS a round, 5; BENCH_ROUNDS, 5)

A Server for each size, in turn on the same core; 64 kept-alive connections, every Worker of the fleet in turn. In addition to
the rate: CPU time per token, memory, and how long a Server takes to become ready.
"""

import os
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.fleets import Fleet
from benchmarks.harness import in_turn, medians, save, wrk
from benchmarks.plots import lines

SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SIZES = (100, 1_000, 10_000, 100_000)


def main() -> None:
    """Measure; write the result and the plot."""
    facts: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        measures = {}
        for size in SIZES:
            fleet = Fleet(Path(directory) / str(size), by_key=size)
            bodies = fleet.post_bodies()
            begin = time.perf_counter()
            served = stack.enter_context(fleet.served())
            facts[f"{size:,} entries"] = {
                "ready_s": time.perf_counter() - begin,
                "resident_mb": served.resident_kb() / 1024,
            }
            measure = partial(wrk, "tokens.lua", f"{fleet.url}/oauth2/token", bodies, served=served)
            measure(seconds=2)
            measures[f"{size:,} entries"] = partial(measure, seconds=SECONDS)
        seen = in_turn(measures, rounds=ROUNDS)
    middle = medians(seen)
    rates = [found["per_s"] for found in middle.values()]
    change = rates[-1] / rates[0] - 1
    for name, found in middle.items():
        print(f"{name:18} {found['per_s']:8,.0f} tokens/s  {found['cpu_us_each']:6.1f} us  {facts[name]}")
    print(f"from 100 to 100,000 entries: {change:+.1%}")
    save("growth", {"medians": middle, "rounds": seen, "facts": facts, "change": change})
    lines("growth", {"tokens/s": (SIZES, rates)}, log_x=True, title="Tokens per second as the fleet grows",
          x_label="Worker entries", y_label="tokens/s")  # fmt: skip


if __name__ == "__main__":
    main()
