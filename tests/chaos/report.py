"""What the faults did, a JSON object each; `make chaos` makes a table of them."""

import json
import os
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "chaos-report.md"
_COLUMNS = ("fault", "load", "lasted_s", "acknowledged", "lost", "programs_ended", "recovered_s")
_HEAD = """# What faults did

Written by `make chaos`: real Servers and Workers (`tests/chaos/`), a real PostgreSQL, HAProxy in front. *Acknowledged* are enrollments that a Worker was told of,
while the fault lasted and before and after it (beside a flood: tokens; of a whole fleet that comes back: its Workers); *lost* those of them that are not in
the state afterwards. *Programs ended* counts the programs of
connected Workers that did not live through it. *Recovered* is the time from the fault's end until every Worker is shown online by both Servers, with nobody
touching its host. Times are of one run on a machine with two cores.

Faults of the network are made in network namespaces, those of hosts by small disks of their own and by libfaketime. Delay is made by a relay: the kernel's own
(`netem`) is not in every kernel.
"""
_TABLE = """
## {group}

| fault | load | lasted (s) | acknowledged | lost | programs ended | recovered (s) |
|---|---|---|---|---|---|---|
"""
_GROUP = "Servers and their database"


def record(**measured: Any) -> None:
    """Keep what a fault did, if a report is wanted."""
    place = os.environ.get("LYFTDATA_CHAOS_REPORT")
    if place:
        file = Path(place) / f"{measured['fault']}.json"
        file.write_text(json.dumps(measured), encoding="utf-8")


def main(place: str) -> None:
    """Write the page from what was recorded."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(place).glob("*.json"))]
    groups: dict[str, list[str]] = {}
    for each in found:
        row = "| " + " | ".join(str(each[column]) for column in _COLUMNS) + " |\n"
        groups.setdefault(each.get("group", _GROUP), []).append(row)
    tables = [_TABLE.format(group=group) + "".join(rows) for group, rows in groups.items()]
    PAGE.write_text(_HEAD + "".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
