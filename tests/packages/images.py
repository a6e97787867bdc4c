"""
Images built by buildah from the project's Dockerfile, and their containers, without a container engine.

No registry can be reached where this runs, so the base is not Python's image but a Debian made by debootstrap, with Debian's Python as
`python`. A container is a chroot into the image's file system, read-only except for mounts, as the image's user.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.packages.debian_roots import Root

ROOT = Path(__file__).parents[2]
BASE = "localhost/python-on-debian:12"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class Buildah:
    """Buildah with its images in a directory of the test."""

    def __init__(self, directory: Path) -> None:
        self._store = [
            "--root", str(directory / "images"), "--runroot", str(directory / "run"), "--storage-driver", "vfs",
        ]  # fmt: skip

    def run(self, command: str, *arguments: str) -> str:
        """Run a buildah command that must succeed; return its standard output."""
        argv = ["buildah", *self._store, command, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()

    def make_base(self, debian: Path) -> None:
        """Make the substitute for Python's image."""
        container = self.run("from", "scratch")
        self.run("copy", "--quiet", container, str(debian), "/")
        mounted = Path(self.run("mount", container))
        (mounted / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        self.run("umount", container)
        self.run("commit", "--quiet", "--rm", container, BASE)

    def build(self, target: str) -> str:
        """Build a stage of the Dockerfile from the checkout; return the image's name."""
        name = f"localhost/lyftdata-{target}:test"
        # With this machine's certificates, since a proxy in front of the package index may have its own.
        options = [
            "--isolation",
            "chroot",
            "--volume",
            f"{_CERTIFICATES}:{_CERTIFICATES}:ro",
            "--format",
            "docker",
            "--quiet",
        ]
        self.run(
            "bud",
            *options,
            "--build-arg",
            f"PYTHON_IMAGE={BASE}",
            "--target",
            target,
            "--tag",
            name,
            str(ROOT),
        )
        return name

    def open(self, image: str) -> "Image":
        """Return an image with its configuration and file system."""
        container = self.run("from", image)
        described = json.loads(self.run("inspect", "--type", "image", image))
        return Image(described["Docker"]["config"], Path(self.run("mount", container)))


class Image:
    """
    An image.

    Attributes:
        config: What a container engine uses: `User`, `Env`, `Cmd`, `Healthcheck`.
        files: Its file system.
    """

    def __init__(self, config: Mapping[str, Any], files: Path) -> None:
        self.config = config
        self.files = files

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that the image sets."""
        return dict(line.split("=", 1) for line in self.config["Env"])

    def command(self, *argv: str, volume: Path, secrets: Path, environ: Mapping[str, str]) -> list[str]:
        """
        Return a command that runs a program in a container with a read-only root, its own /tmp and no shell.

        Args:
            argv: The program; by default the image's own.
            volume: The directory mounted at /var/lib/lyftdata.
            secrets: The directory mounted at /run/secrets, read-only.
            environ: Variables in addition to the image's.
        """
        mounts = [
            'mount --bind "$root" "$root"; mount --make-rprivate "$root"',
            'mount -t tmpfs -o mode=1777 tmp "$root/tmp"; mount -t tmpfs -o mode=755 run "$root/run"',
            'mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"',
            'mkdir "$root/run/secrets"',
            f'mount --bind "{secrets}" "$root/run/secrets"; mount -o remount,bind,ro "$root/run/secrets"',
            f'mount --bind "{volume}" "$root/var/lib/lyftdata"',
            'for shell in sh bash dash; do mount --bind /dev/null "$root/usr/bin/$shell"; done',
            'mount -o remount,bind,ro "$root"',
        ]
        variables = {**self.environ, **environ}
        return Root(self.files).command(
            *(argv or self.config["Cmd"]), user=self.config["User"], environ=variables, mounts=mounts
        )

    def healthcheck(self) -> Sequence[str]:
        """Return the health check's command."""
        kind, *argv = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return argv
