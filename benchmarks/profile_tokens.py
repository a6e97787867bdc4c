"""
Where the time of a token goes: profiles a Server under load with py-spy.

    .venv-bench/bin/python -m benchmarks.profile_tokens [post|assertion|verify|register] [SECONDS]

Prints in which share of the samples each function of this project or of a library was at the top of the stack, and in which
it was anywhere on it; waiting threads are left out.
"""

import collections
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from benchmarks.fleets import Fleet
from benchmarks.harness import wrk

WORKERS = 10_000
_SHOWN = 45


def main() -> None:
    """Profile and print."""
    path, seconds = sys.argv[1] if len(sys.argv) > 1 else "post", int(sys.argv[2]) if len(sys.argv) > 2 else 8  # noqa: PLR2004
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        fleet = Fleet(place / "ours", by_key=WORKERS, enrolled=WORKERS)
        bodies = fleet.post_bodies() if path == "post" else fleet.assertion_bodies(seconds * 8_000)
        with fleet.served() as served:
            stacks = place / "stacks"
            spy = [
                Path(sys.executable).with_name("py-spy"),
                "record",
                "--pid",
                str(_server(served.process.pid)),
            ]
            spy += [
                "--rate",
                "400",
                "--duration",
                str(seconds - 2),
                "--format",
                "raw",
                "--threads",
                "--nonblocking",
            ]
            watching = threading.Thread(
                target=subprocess.run,
                args=([*map(str, spy), "--output", str(stacks)],),
                kwargs={"capture_output": True},
            )
            watching.start()
            print(wrk("tokens.lua", f"{fleet.url}/oauth2/token", bodies, seconds=seconds, served=served))
            watching.join()
        show(stacks.read_text(encoding="utf-8"))


def _server(pid: int) -> int:
    return pid


def show(stacks: str) -> None:
    """Print the shares by function."""
    alone: collections.Counter[str] = collections.Counter()
    anywhere: collections.Counter[str] = collections.Counter()
    total = 0
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        names = [name.rpartition(":")[0] or name for name in frames.split(";")]
        total += int(count)
        alone[names[-1]] += int(count)
        for name in set(names):
            anywhere[name] += int(count)
    for title, counts in (("running", alone), ("on the stack", anywhere)):
        print(f"\n{title}, of {total} samples")
        for name, samples in counts.most_common(_SHOWN):
            print(f"{samples / total:7.1%}  {name}")


if __name__ == "__main__":
    main()
