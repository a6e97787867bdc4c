"""
First impressions: how fast `--help` answers, how soon a Worker is online, how much memory an idle process uses.

    .venv/bin/python benchmarks/first_impressions.py

Starts a real Server and real Workers on loopback, one after the other, and prints medians.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.builders import ENROLLMENT_KEY
from tests.processes import PASSWORD, STARTED, Program, Site, until

ROUNDS = 7


def resident_mb(program: Program) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{program.process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def help_s() -> float:
    """Return how many seconds `lyftdata --help` takes."""
    begin = time.perf_counter()
    program = Path(sys.executable).with_name("lyftdata")
    subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def online_s(site: Site, n: int, **environ: str) -> tuple[float, float]:
    """Return the seconds from a Worker's start until it logs `online`, and its memory then."""
    host = site.worker_host(f"host-{n}", **environ)
    begin = time.perf_counter()
    agent = host.start("run", "worker")
    agent.wait_for("online")
    taken = time.perf_counter() - begin
    time.sleep(1)
    memory = resident_mb(agent)
    agent.terminate()
    return taken, memory


def children_of(pid: int) -> list[int]:
    """Return the process IDs of a process's children."""
    return [
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ]


def stopped_s(site: Site, session: dict[str, str]) -> float:
    """Return the seconds from the request to disable a Worker until the Worker's program is gone."""
    key = site.operator.done("workers", "add", "stop", "--id", "stop", "--issue-key").strip()
    host = site.worker_host("stop", LYFTDATA_WORKER_ID="stop", LYFTDATA_WORKER_API_KEY=key)
    agent = host.start("run", "worker", "--", "sleep", "600")
    agent.wait_for("online")
    (child,) = until(lambda: children_of(agent.process.pid), "the program's start")
    begin = time.perf_counter()
    httpx2.patch(f"{site.url}/api/workers/stop", json={"enabled": False}, headers=session, trust_env=False)
    while Path(f"/proc/{child}").exists():
        time.sleep(0.001)
    taken = time.perf_counter() - begin
    agent.terminate()
    httpx2.delete(f"{site.url}/api/workers/stop", headers=session, trust_env=False)
    return taken


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        begin = time.perf_counter()
        site = Site(Path(place), LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
        ready_s = time.perf_counter() - begin
        empty_mb = resident_mb(site.server)
        site.sign_in()
        by_key, enrolled = [], []
        for n in range(ROUNDS):
            key = site.operator.done("workers", "add", f"w-{n}", "--id", f"w-{n}", "--issue-key").strip()
            by_key.append(online_s(site, n, LYFTDATA_WORKER_ID=f"w-{n}", LYFTDATA_WORKER_API_KEY=key))
            given = {"LYFTDATA_WORKER_NAME": f"e-{n}", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
            enrolled.append(online_s(site, 100 + n, **given))
        body = {"username": "admin", "password": PASSWORD}
        token = httpx2.post(f"{site.url}/api/login", json=body, trust_env=False).json()["token"]
        stops = [stopped_s(site, {"Authorization": f"Bearer {token}"}) for _ in range(ROUNDS)]
        for program in STARTED:
            if program.alive():
                program.terminate()
    print(
        f"lyftdata --help                       {statistics.median(help_s() for _ in range(ROUNDS)):6.2f} s"
    )
    print(f"Server ready, empty state             {ready_s:6.2f} s   {empty_mb:5.0f} MB")
    for name, seen in (("API key", by_key), ("Auto-Enrollment", enrolled)):
        taken = statistics.median(s for s, _ in seen)
        memory = statistics.median(mb for _, mb in seen)
        print(f"Worker online, {name:20}   {taken:6.2f} s   {memory:5.0f} MB")
    print(
        f"disabled, until its program is gone   {statistics.median(stops):6.3f} s   (max {max(stops):.3f} s)"
    )
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
