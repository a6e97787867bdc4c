"""The effects of each fault, a JSON object each; `make chaos` makes tables of them."""

import json
import os
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "chaos-report.md"
_COLUMNS = ("fault", "load", "lasted_s", "acknowledged", "lost", "programs_ended", "recovered_s")
_HEAD = """# Fault injection report

The results of the fault injection tests, written by `make chaos`. It runs Servers and Workers (`tests/behaviour/chaos/`), a PostgreSQL and HAProxy, and injects one fault at a time. *Acknowledged* is the number of
enrollments that were answered to a Worker before, during and after the fault (in a flood: tokens; when a whole fleet returns: its Workers). *Lost* is how many of these are missing from
the state afterwards. *Programs ended* is how many programs of
connected Workers did not survive the fault. *Recovered* is the time from the end of the fault until both Servers show every Worker online, without any action
on its host. Times are from one run on a machine with two cores.

Network faults use network namespaces. Host faults use small separate disks and libfaketime. A relay adds delay, because not every kernel supports it
(`netem`).
"""
_TABLE = """
## {group}

| fault | load | lasted (s) | acknowledged | lost | programs ended | recovered (s) |
|---|---|---|---|---|---|---|
"""
_GROUP = "Servers and their database"


def record(**measured: Any) -> None:
    """Record the effects of a fault, if a report is wanted."""
    place = os.environ.get("LYFTDATA_CHAOS_REPORT")
    if place:
        file = Path(place) / f"{measured['fault']}.json"
        file.write_text(json.dumps(measured), encoding="utf-8")


def main(place: str) -> None:
    """Write the page from the records."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(place).glob("*.json"))]
    groups: dict[str, list[str]] = {}
    for each in found:
        row = "| " + " | ".join(str(each[column]) for column in _COLUMNS) + " |\n"
        groups.setdefault(each.get("group", _GROUP), []).append(row)
    tables = [_TABLE.format(group=group) + "".join(rows) for group, rows in groups.items()]
    PAGE.write_text(_HEAD + "".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
