"""
Makes the page of a soak test from its record: `python -m tests.soak.report DIRECTORY` (needs matplotlib).

Writes docs/explanation/soak-report.md and its picture.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "explanation" / "soak-report.md"
PICTURE = DOCS / "images" / "soak.svg"
_MIB = 1024 * 1024
_HEAD = """# Soak test report

The result of the last soak test, written by `make soak`. The test runs two Servers on PostgreSQL with a synchronous standby, behind HAProxy; real agents that each run a program; and light Workers, which retry without end, half
with an API key that a team shares, half enrolled. It picks events at random, from a seed: an operator adds, disables, enables or
removes Workers, rotates or revokes keys; a host loses power; a Server is killed, restarted or paused; PostgreSQL is restarted, crashes, fails over
permanently to its standby, or has no disk space. From time to time all clocks are moved forward by hours, so that days pass within minutes.

After each event the test waits until every Worker that should be connected is, and no other, and compares the whole state with what the Servers have acknowledged. It
stops at the first violation:

- A Worker was admitted by a request sent two seconds or more after the Server had acknowledged that it is cut off; or a key that had ended, or a token given for it, was accepted.
- A Worker that should be connected is not connected five minutes after the event, or an agent's program does not run.
- A Worker, a change or a removal that was acknowledged is missing from the state, or the state has one that was not acknowledged.
- The audit log is not intact, or a Server's log has a traceback.

`python -m tests.soak --seed SEED …` repeats the events of a report in the same order. Not covered: upgrades from an earlier release, because there is none yet, and rotation of the
identity keys of light Workers; those of agents are rotated.
"""


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines that a run recorded."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def page_of(lines: Sequence[dict[str, Any]]) -> str:
    """Return the page."""
    [settings] = [line for line in lines if line["kind"] == "settings"]
    events = [line for line in lines if line["kind"] == "event"]
    violations = [line for line in lines if line["kind"] == "violation"]
    measures = [
        server for line in lines if line["kind"] == "measure" for server in line["servers"] if server[0]
    ]
    largest = max(events, key=lambda event: event["workers"], default={"workers": 0})
    parts = [
        _HEAD,
        "\n## The last run\n\n",
        f"{len(events)} events in {round(lines[-1]['at_s'] / 60)} minutes, in which the clocks went {events[-1]['clock_h'] if events else 0} hours forward; "
        f"{largest['workers']} Workers, {settings['agents']} of them real agents; seed {settings['seed']}; a machine with two cores. ",
        f"**{len(violations)} violations.** ",
        f"The Servers took at most {max(server[0] for server in measures) // _MIB} MiB and {max(server[1] for server in measures)} open files each.\n\n",
        "![Memory and open files of both Servers, and the number of Workers](../images/soak.svg)\n\n",
        "*Settled* is how long it took, from the end of the event, until every Worker was where it should be: median and longest, in seconds.\n\n",
        "| event | times | settled | longest |\n|---|---|---|---|\n",
    ]
    for name in sorted({event["event"] for event in events}):
        settled = [event["settled_s"] for event in events if event["event"] == name]
        words = name.replace("_", " ")
        parts.append(
            f"| {words} | {len(settled)} | {statistics.median(settled):.1f} | {max(settled):.1f} |\n"
        )
    parts += [f"\nViolation: {line['rule']}, after {line['event']}.\n" for line in violations]
    return "".join(parts)


def draw(lines: Sequence[dict[str, Any]], file: Path) -> None:
    """Plot memory, open files and Workers over the minutes of the run."""
    # Imported here, since the test of the page has no matplotlib.
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    measures = [line for line in lines if line["kind"] == "measure"]
    events = [line for line in lines if line["kind"] == "event"]
    minutes = [line["at_s"] / 60 for line in measures]
    figure, (memory, files, workers) = plt.subplots(3, 1, sharex=True, figsize=(8, 7))
    for number in range(2):
        values = [line["servers"][number] for line in measures]
        memory.plot(
            minutes, [value[0] / _MIB or float("nan") for value in values], label=f"Server {number + 1}"
        )
        files.plot(minutes, [value[1] or float("nan") for value in values], label=f"Server {number + 1}")
    memory.set_ylabel("memory (MiB)")
    files.set_ylabel("open files")
    times = [event["at_s"] / 60 for event in events]
    workers.step(times, [event["workers"] for event in events], where="post", label="known")
    workers.step(times, [event["expected"] for event in events], where="post", label="expected")
    workers.set_ylabel("Workers")
    workers.set_xlabel("minutes")
    for each in (memory, files, workers):
        each.set_ylim(bottom=0)
        each.legend(loc="lower right")
        each.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main(directory: str) -> None:
    """Write page and picture."""
    lines = read_lines(Path(directory) / "soak.jsonl")
    PAGE.write_text(page_of(lines), encoding="utf-8")
    draw(lines, PICTURE)


if __name__ == "__main__":
    main(sys.argv[1])
