"""
Compares this checkout with an older one by CPU time and function calls, also on a machine that others use.

    git worktree add /tmp/before COMMIT
    .venv/bin/python benchmarks/compare.py /tmp/before [OPERATION …]
    .venv/bin/python benchmarks/compare.py /tmp/before --start 100000

Both Servers run at the same time, each in its own process without sockets, and take turns of a few thousand operations (old,
new, old, new), so that other load on the machine affects both alike. CPU time excludes other processes, but not their effect on
the caches: only ratios within one run are meaningful. The number of function calls is exact.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# How many of each operation are done in a turn; fewer of those that are expensive to prepare.
OPERATIONS = {
    "token by API key": 2_000,
    "token by private_key_jwt": 1_000,
    "/auth/verify": 2_000,
    "enrollment": 500,
    "an empty 204": 2_000,
}
TURNS = int(os.environ.get("COMPARE_TURNS", "15"))
STARTS = int(os.environ.get("COMPARE_STARTS", "5"))


def _command(checkout: Path, *arguments: str) -> dict[str, Any]:
    """Return how to run a checkout's Server: its own source and helpers, with this checkout's `operations.py`."""
    return {
        "args": [sys.executable, str(HERE / "operations.py"), *arguments],
        "env": os.environ | {"PYTHONPATH": f"{checkout / 'src'}:{checkout}", "PYTHONHASHSEED": "0"},
        "text": True,
        "stdout": subprocess.PIPE,
    }


class Side:
    """One of the two Servers."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._answer()

    def ask(self, order: str) -> float:
        """Send an order, and return the number that it answers."""
        print(order, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - narrows a type
        line = self._process.stdout.readline()
        return json.loads(line) if line else sys.exit("a Server ended")


@contextlib.contextmanager
def running(checkout: Path) -> Iterator[Side]:
    """Run a checkout's Server until the end of the block."""
    with subprocess.Popen(stdin=subprocess.PIPE, **_command(checkout, "operations")) as process:
        try:
            yield Side(process)
        finally:
            process.terminate()


def compare_operations(before: Path, now: Path, names: list[str]) -> None:
    """Print CPU time and calls of each operation, before and now."""
    with running(before) as old, running(now) as new:
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for turn in range(TURNS + 1):
            for name in names:
                order = f"{name} {OPERATIONS[name]}"
                pair = old.ask(order), new.ask(order)
                # The first turn warms up.
                if turn:
                    taken[name].append(pair)
        print(
            f"{'CPU time and calls each':30} {'before µs':>10} {'now µs':>10} {'ratio':>7} {'calls before':>13} {'now':>6}"
        )
        for name, pairs in taken.items():
            old_us, new_us = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(new_one / old_one for old_one, new_one in pairs)
            calls = [side.ask(f"calls {name} 512") for side in (old, new)]
            print(f"{name:30} {old_us:10.1f} {new_us:10.1f} {ratio:7.3f} {calls[0]:13.0f} {calls[1]:6.0f}")


def compare_starts(before: Path, now: Path, size: int) -> None:
    """Print CPU time and memory of a start with `size` entries, before and now."""
    with tempfile.TemporaryDirectory() as directory:
        sides = {"before": before, "now": now}
        for name, checkout in sides.items():
            subprocess.run(**_command(checkout, "fill", f"{directory}/{name}", str(size)), check=True)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for _ in range(STARTS):
            for name, checkout in sides.items():
                done = subprocess.run(**_command(checkout, "start", f"{directory}/{name}"), check=True)
                found[name].append(json.loads(done.stdout))
    print(f"{'a start with ' + format(size, ',') + ' entries':30} {'CPU s':>12} {'memory MB':>10}")
    for name, starts in found.items():
        cpu, memory = (
            statistics.median(one[key] for one in starts) for key in ("start_cpu_s", "resident_mb")
        )
        print(f"{name:30} {cpu:12.2f} {memory:10.0f}")


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="a checkout to compare with")
    parser.add_argument(
        "operations", nargs="*", metavar="OPERATION", help=f"any of {', '.join(OPERATIONS)}; by default all"
    )
    parser.add_argument(
        "--start", type=int, metavar="ENTRIES", help="compare starts with this many entries instead"
    )
    given = parser.parse_args()
    if unknown := set(given.operations) - OPERATIONS.keys():
        parser.error(f"no such operation: {', '.join(unknown)}")
    before, now = given.before.resolve(), HERE.parent
    if given.start is not None:
        compare_starts(before, now, given.start)
    else:
        compare_operations(before, now, given.operations or list(OPERATIONS))


if __name__ == "__main__":
    main()
