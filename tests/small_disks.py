"""Disks that are small enough to fill, and can be made read-only."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

_SIZE = 262_144
_PIECE = 4096


class SmallDisk:
    """
    A disk of 256 KiB, mounted at a path that is short enough for a socket; unmount it with `close()`.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("mounting a small disk needs root")
        self.path = Path(tempfile.mkdtemp(prefix="lyftdata-disk-"))
        options = f"size={_SIZE},mode=0700"
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "lyftdata-test", str(self.path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            self.path.rmdir()
            pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Fill the disk."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as stream:
            while True:
                stream.write(b"x" * _PIECE)

    def make_room(self) -> None:
        """Remove the file that fills it."""
        self._ballast.unlink()

    def remount(self, how: str) -> None:
        """Make it read-only (`ro`), or writable again (`rw`)."""
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.path)], check=True, capture_output=True)

    def close(self) -> None:
        """Unmount it, even while it is in use."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, capture_output=True)
        self.path.rmdir()
