"""
What every benchmark shares: programs pinned to a core, load that checks each answer, alternating rounds, results in files.

One core runs the server and the other the load. The measured servers take turns (A B C, A B C, …), so that other load on the
machine affects all alike, and the result is the median of the rounds. Only ratios within one run are meaningful.
"""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
IMAGES = HERE.parent / "docs" / "images"

SERVING_CORE = "0"
ASKING_CORE = "1"
_READY_WITHIN_S = 120.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Served:
    """
    A server as a separate process, on the serving core.

    Args:
        command: Program and arguments.
        log: Where its output goes.
        environ: Added to the environment.
        cores: Cores to use instead of the serving one, in the syntax of `taskset`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        cores: str = SERVING_CORE,
    ) -> None:
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                ["taskset", "--cpu-list", cores, *map(str, command)],
                env=os.environ | {"PYTHONPATH": str(HERE.parent)} | dict(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until it is ready; exit if it does not become ready."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"not ready:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)

    def cpu_s(self) -> float:
        """Return the CPU time that it and its children have used so far, which excludes other load on the machine."""
        return sum(_cpu_ticks(pid) for pid in _family(self.process.pid)) / _TICKS_A_SECOND

    def resident_kb(self) -> int:
        """Return its resident memory."""
        return sum(_resident_kb(pid) for pid in _family(self.process.pid))

    def stop(self) -> None:
        """Terminate it and wait for its end."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path],
    *,
    log: Path,
    is_ready: Callable[[], bool],
    environ: Mapping[str, str] | None = None,
    cores: str = SERVING_CORE,
) -> Iterator[Served]:
    """Run a server until the end of the block."""
    served = Served(command, log=log, environ=environ, cores=cores)
    try:
        served.wait_until(is_ready)
        yield served
    finally:
        served.stop()


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]


def _cpu_ticks(pid: int) -> int:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def _resident_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0


def wrk(
    script: str,
    url: str,
    *arguments: str | Path,
    seconds: int,
    connections: int = 64,
    served: Served | None = None,
) -> dict[str, float]:
    """
    Send requests without pause, and return the rate, latencies and CPU time.

    Exits if any answer is wrong: a rate of errors is worthless.

    Args:
        script: A file of `load/`.
        url: Where requests are sent.
        arguments: The script's arguments.
        seconds: For how long.
        connections: Kept-alive connections, each with one request at a time.
        served: The server whose CPU time is measured.
    """
    before_s = served.cpu_s() if served else 0.0
    own = os.times()
    command: list[str | Path] = [
        "taskset",
        "--cpu-list",
        ASKING_CORE,
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(connections),
    ]
    command += [
        "--duration",
        f"{seconds}s",
        "--timeout",
        "30s",
        "--script",
        str(HERE / "load" / script),
        url,
        "--",
    ]
    done = subprocess.run(
        [*map(str, command), *map(str, arguments)],
        env=os.environ | {"BENCH_REPORT": str(HERE / "load" / "report.lua")},
        capture_output=True,
        text=True,
        check=False,
    )
    marked = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    if not marked:
        sys.exit(f"wrk failed: {done.stdout}\n{done.stderr}")
    report = json.loads(marked[0].removeprefix("REPORT "))
    if report["wrong"] or report["socket_errors"] or not report["answers"]:
        sys.exit(f"{url}: {report}")
    after = os.times()
    asking_s = after.children_user + after.children_system - own.children_user - own.children_system
    report["per_s"] = report["answers"] / report["seconds"]
    report["load_cpu_share"] = asking_s / report["seconds"]
    if served:
        report["cpu_us_each"] = (served.cpu_s() - before_s) / report["answers"] * 1e6
    return {
        name: value for name, value in report.items() if name not in {"wrong", "first_wrong", "socket_errors"}
    }


def in_turn(
    measures: Mapping[str, Callable[[], dict[str, float]]], *, rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Take each measure in turn for a number of rounds, and return the results of each."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            found = measure()
            seen[name].append(found)
            shown = "  ".join(f"{key} {value:,.1f}" for key, value in found.items() if key in _SHOWN)
            print(f"round {number + 1}  {name:44} {shown}", flush=True)
    return seen


_SHOWN = frozenset({"per_s", "p50_ms", "p99_ms", "cpu_us_each", "load_cpu_share"})


def medians(seen: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the median of each number of each measure."""
    return {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in seen.items()
        if rounds
    }


def save(measure: str, found: Mapping[str, Any]) -> Path:
    """Write a result with the machine and the command that it was measured with; return the file."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{measure}.json"
    whole = {"measure": measure, "command": f"make bench-{measure.replace('_', '-')}", **machine(), **found}
    file.write_text(json.dumps(_rounded(whole), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: benchmarks/results/{file.name}")
    return file


def load(measure: str) -> dict[str, Any]:
    """Read a result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{measure}.json").read_text(encoding="utf-8"))
    return found


def machine() -> dict[str, Any]:
    """Return a description of the machine, and whether other work ran on it."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {model}, Linux {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        # BENCH_QUIET=1 says that nothing else ran; results measured next to other work are preliminary.
        "preliminary": os.environ.get("BENCH_QUIET") != "1",
    }


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {key: _rounded(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_rounded(inner) for inner in value]
    return value
