"""
List and check the licences of the Server's or the Worker's dependencies.

    python tools/check_licences.py SBOM

Reads an SBOM in CycloneDX JSON (`make sbom`). Exits with 1 if a component has no licence, or one that is neither permissive nor
listed as an exception below.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

# Permissive: they only require to keep the notice.
_PERMISSIVE = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-License", "ISC", "MIT", "MIT-0", "PSF-2.0"}
)
# Exceptions. psycopg is used as a library that users can replace, as the LGPL requires. certifi, the list of CAs in the extra `otel`, is
# distributed unmodified, and the MPL only covers changes to its files.
_ARGUED_FOR = {"certifi": "MPL-2.0", "psycopg": "LGPL-3.0-only", "psycopg-binary": "LGPL-3.0-only"}
# Licence names of packages without an SPDX expression.
_NAMES = {
    "Apache License, Version 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "BSD": "BSD-License",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: BSD License": "BSD-License",
    "License :: OSI Approved :: MIT License": "MIT",
    "MIT License": "MIT",
}
# Missing in the SBOM, because cyclonedx-py does not recognize the package's licence name. Taken from the package's LICENSE file.
_LEFT_OUT = {"protobuf": "BSD-3-Clause"}


def licences(component: dict[str, Any]) -> set[str]:
    """Return the licences of a component, including alternatives."""
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
    return (
        f"{name}: {', '.join(sorted(strict))} is neither permissive nor listed as an exception"
        if strict
        else None
    )


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
