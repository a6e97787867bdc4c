"""
Checks the licences of what the Server or the Worker consists of, and lists them.

    python tools/check_licences.py SBOM

Reads a bill of materials in CycloneDX's JSON form (`make sbom`). Exit code 1 if a part has no licence, or one that asks more of who
passes lyftdata on than to keep a notice: to be argued for here first.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

# Permissive: to keep the notice is all they ask for.
_PERMISSIVE = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-License", "ISC", "MIT", "MIT-0", "PSF-2.0"}
)
# The driver of PostgreSQL: used as a library that anyone can replace, which is what the LGPL asks for. The list of CAs that the extra
# `otel` brings: its files are passed on as they are, and the MPL asks for changes to them alone.
_ARGUED_FOR = {"certifi": "MPL-2.0", "psycopg": "LGPL-3.0-only", "psycopg-binary": "LGPL-3.0-only"}
# What packages without an SPDX expression call theirs.
_NAMES = {
    "Apache License, Version 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "BSD": "BSD-License",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: BSD License": "BSD-License",
    "License :: OSI Approved :: MIT License": "MIT",
    "MIT License": "MIT",
}
# What the bill of materials leaves out, since the package names it in words that its maker does not know: read in the package's own
# file LICENSE.
_LEFT_OUT = {"protobuf": "BSD-3-Clause"}


def licences(component: dict[str, Any]) -> set[str]:
    """Return the licences that a component is under, or may be used under."""
    found: set[str] = set()
    for entry in component.get("licenses", []):
        licence = entry.get("license", {})
        text = entry.get("expression") or licence.get("id") or licence.get("name") or ""
        found |= {
            _NAMES.get(part, part) for part in re.split(r" (?:OR|AND) ", _NAMES.get(text, text)) if part
        }
    left_out = _LEFT_OUT.get(component.get("name", ""))
    return found or ({left_out} if left_out else set())


def problem(name: str, found: set[str]) -> str | None:
    """Return what is wrong with a component's licences, or None."""
    if not found:
        return f"{name}: no licence is stated"
    strict = found - _PERMISSIVE - {_ARGUED_FOR.get(name, "")}
    return f"{name}: {', '.join(sorted(strict))} is not among those that are argued for" if strict else None


def main(path: str) -> int:
    """Print every component with its licences; return 1 if there is a problem."""
    components = json.loads(Path(path).read_text(encoding="utf-8"))["components"]
    found = {component["name"]: licences(component) for component in components}
    versions = {component["name"]: component["version"] for component in components}
    for name in sorted(found):
        print(f"{name} {versions[name]}: {', '.join(sorted(found[name]))}")
    problems = [told for name, each in found.items() if (told := problem(name, each))]
    for told in problems:
        print(told, file=sys.stderr)
    return 1 if problems or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
