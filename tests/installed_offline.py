"""
Runs the commands of docs/how-to/install-without-internet.md, for a Server and for a Worker; used by `make wheel`.

    python tests/installed_offline.py DIRECTORY    leave the environments `server` and `worker` in it
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
    """Return the commands of the machine with internet access, and of the one without."""
    blocks = re.findall(
        r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    connected, offline = ([line.removeprefix("$ ") for line in block.splitlines()] for block in blocks)
    return [connected, offline]


def without_network() -> list[str]:
    """Return what starts a program in a network namespace of its own, or nothing where that is not allowed."""
    argv = ["unshare", "--net"]
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run([*argv, "true"], capture_output=True, check=False)
    return argv if tried.returncode == 0 else []


def main(directory: Path) -> int:
    """Run both halves; `make dist` has been run, and its result is used as it is."""
    connected, offline = halves()
    assert connected[0] == "make dist"
    # A checkout as the page sees it: the commands write into its `dist`, which is what a release publishes.
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
    """Run commands in one shell, which ends at the first that fails."""
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}
    subprocess.run([*prefix, "sh", "-euc", "\n".join(commands)], cwd=directory, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
