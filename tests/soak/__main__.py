"""
Runs a fleet through a week of random events, and continually checks that nothing is lost: `make soak`.

    python -m tests.soak --minutes 180 --workers 1000 --agents 20 --seed 7 --output DIRECTORY

The same seed gives the same events in the same order. Writes `soak.jsonl`, a JSON object per line: the settings, each event, each
measurement, and each violation. Exits with 1 if there was a violation.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.soak.actions import ACTIONS, Action, ViolationError, Week
from tests.soak.checks import check_state, settle
from tests.soak.stage import Stage

_MEASURE_EVERY_S = 5.0
_BATCH = 50


class Record:
    """The lines that a run writes, each with the seconds since its start."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", encoding="utf-8")
        self._mutex = threading.Lock()
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        return round(time.monotonic() - self._begun, 2)

    def write(self, kind: str, **fields: Any) -> None:
        """Add a line."""
        line = json.dumps({"kind": kind, "at_s": self.seconds, **fields})
        with self._mutex:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextlib.contextmanager
def measuring(stage: Stage, record: Record) -> Iterator[None]:
    """Record the memory and open files of the Servers until the end of the block."""
    ended = threading.Event()

    def measure() -> None:
        while not ended.wait(_MEASURE_EVERY_S):
            record.write("measure", servers=stage.measures())

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def build_fleet(week: Week, *, workers: int, agents: int) -> None:
    """Add the initial Workers, half of them with each strategy."""
    for count in _batches(workers // 2):
        week.add_keyed(count)
    for count in _batches(workers - workers // 2):
        week.enroll(count)
    week.start_agents(agents)


def _batches(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, _BATCH)
        count -= _BATCH


def run_week(week: Week, record: Record, *, minutes: float, actions: list[Action] | None = None) -> int:
    """
    Run events until the time is over; return the number of violations.

    Args:
        week: The fleet.
        record: Where events and violations are recorded.
        minutes: How long it lasts.
        actions: The events, each once, in this order; if not given, random ones until the time is over.
    """
    violations = 0
    until_s = record.seconds + 60 * minutes
    planned = iter(actions) if actions is not None else None
    while record.seconds < until_s:
        action = next(planned, None) if planned is not None else _chosen(week.dice)
        if action is None:
            break
        begun = record.seconds
        try:
            action(week)
            acted = record.seconds
            settled_s = settle(week)
            check_state(week)
        except ViolationError as error:
            violations += 1
            record.write("violation", event=action.__name__, rule=error.rule, found=error.found[:50])
            break
        record.write(
            "event",
            event=action.__name__,
            begun_s=begun,
            acted_s=acted,
            settled_s=round(settled_s, 2),
            clock_h=week.stage.offset_h,
            workers=len(week.model.select(lambda entry: not entry.is_removed)),
            expected=len(week.model.select(lambda entry: entry.may_connect)),
        )
    return violations


def _chosen(dice: random.Random) -> Action:
    actions, weights = zip(*ACTIONS, strict=True)
    return dice.choices(actions, weights)[0]


def main() -> int:
    """Run the soak test."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    given.output.mkdir(parents=True, exist_ok=True)
    record = Record(given.output / "soak.jsonl")
    record.write("settings", seed=seed, minutes=given.minutes, workers=given.workers, agents=given.agents)
    root = Path(tempfile.mkdtemp(prefix="lyftdata-soak-"))
    print(f"seed {seed}, state and logs in {root}", flush=True)
    with contextlib.ExitStack() as stack:
        stack.callback(record.close)
        week = Week(Stage(root, stack), random.Random(seed))
        build_fleet(week, workers=given.workers, agents=given.agents)
        stack.enter_context(measuring(week.stage, record))
        settled_s = settle(week)
        record.write("begun", settled_s=round(settled_s, 2))
        violations = run_week(week, record, minutes=given.minutes)
        record.write("ended", violations=violations, clock_h=week.stage.offset_h)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
