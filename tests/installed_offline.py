"""
Runs the commands of docs/how-to/install-without-internet.md, for a Server and a Worker; used by `make wheel`.

    python tests/installed_offline.py DIRECTORY    make the environments `server` and `worker` in it
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "install-without-internet.md"
SIDES = ("server", "worker")


def halves() -> list[list[str]]:
    """Return the commands for the machine with internet access, and for the one without."""
    blocks = re.findall(
        r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    connected, offline = ([line.removeprefix("$ ") for line in block.splitlines()] for block in blocks)
    return [connected, offline]


def without_network() -> list[str]:
    """Return the prefix that starts a program in its own network namespace; empty where that is not allowed."""
    argv = ["unshare", "--net"]
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run([*argv, "true"], capture_output=True, check=False)
    return argv if tried.returncode == 0 else []


def main(directory: Path) -> int:
    """Run both halves with the result of a `make dist` that was run before."""
    connected, offline = halves()
    assert connected[0] == "make dist"
    # A checkout as the page assumes it: the commands write into its `dist`, which a release publishes.
    (directory / ".venv").symlink_to(ROOT / ".venv")
    shutil.copytree(ROOT / "dist", directory / "dist")
    run([], connected[1:], directory)
    prefix = without_network()
    for side in SIDES:
        replaced = [
            line.replace("/opt/lyftdata", str(directory / side)).replace("-r server.txt", f"-r {side}.txt")
            for line in offline
        ]
        run(prefix, replaced, directory)
    return 0


def run(prefix: list[str], commands: list[str], directory: Path) -> None:
    """Run commands in one shell, which stops at the first that fails."""
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}
    subprocess.run([*prefix, "sh", "-euc", "\n".join(commands)], cwd=directory, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
