"""Runs the scripts of docs/how-to/audit.md as a third party would: with `cryptography`, and without lyftdata."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "audit.md"
# What `cryptography` imports besides the standard library.
_PACKAGES = ("cryptography", "cffi", "_cffi_backend", "pycparser")


def run_script(name: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the page that has this name in its first line; `root` is the directory of its files."""
    found = [
        code
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        if code.startswith(f"# {name}:")
    ]
    (script,) = found
    (root / name).write_text(script, encoding="utf-8")
    only = root / "only-cryptography"
    _link_packages(only)
    return subprocess.run(
        # -S: without the packages of the environment, which include lyftdata.
        [sys.executable, "-S", name, *arguments],
        cwd=root,
        env={"PYTHONPATH": str(only)},
        capture_output=True,
        text=True,
        check=False,
    )


def _link_packages(only: Path) -> None:
    only.mkdir(exist_ok=True)
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        link = only / source.name
        if not link.exists():
            link.symlink_to(source)
