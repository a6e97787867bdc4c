"""Throw-away Debian roots: made by debootstrap from the archive of this machine's apt, entered by chroot with their own /proc."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# The package's dependencies, and what an image of Python on Debian has.
_INCLUDED = "python3,python3-venv,ca-certificates,init-system-helpers,systemd-standalone-sysusers"
NEEDED = ("debootstrap", "lintian", "dpkg-shlibdeps", "buildah", "unshare", "setpriv")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str:
    """Return why no root can be made here; an empty text if one can."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"not installed (make packages, as root on Debian): {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "needs root"


def make_root(directory: Path) -> Path:
    """Install a small Debian of this machine's release into a directory; return it."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={_INCLUDED}",
        release["VERSION_CODENAME"],
        str(directory),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    return directory


class Root:
    """A root directory, and programs that run in it without this machine's environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def command(
        self,
        *argv: str,
        user: str = "root",
        environ: Mapping[str, str] | None = None,
        mounts: Sequence[str] = ('mount -t proc proc "$root/proc"',),
    ) -> list[str]:
        """
        Return a command that execs a program in the root.

        Args:
            argv: The program, found by the PATH in the root, and its arguments.
            user: Its user, by name or as `UID:GID`.
            environ: Its whole environment; a PATH is added if it has none.
            mounts: Shell commands that are run first, in the program's own mount namespace; $root is the root.
        """
        script = "\n".join(["set -e", "root=$1; shift", *mounts, 'exec "$@"'])
        given = [f"{name}={value}" for name, value in {"PATH": _PATH, **(environ or {})}.items()]
        enter = ["chroot", f"--userspec={user}", str(self.directory), "/usr/bin/env", "-i", *given, *argv]
        return [
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
            str(self.directory),
            "setpriv",
            "--no-new-privs",
            *enter,
        ]

    def run(self, *argv: str, user: str = "root", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the root to its end."""
        return subprocess.run(
            self.command(*argv, user=user, environ=environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def done(self, *argv: str, user: str = "root", **environ: str) -> str:
        """Run a program that must succeed; return its output."""
        done = self.run(*argv, user=user, **environ)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout
