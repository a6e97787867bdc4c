"""A small disk that can be filled."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_AT_ONCE = 64 * 1024


class Volume:
    """A separate file system in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        """Fill it completely."""
        with self._filler.open("ab", buffering=0) as file:
            size = _AT_ONCE
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Free the space again."""
        self._filler.unlink()


@contextlib.contextmanager
def small_volume(megabytes: int) -> Iterator[Volume]:
    """Yield a volume of this size, which every user may read."""
    if os.geteuid() != 0:
        pytest.skip("a small volume is mounted by root alone")
    with tempfile.TemporaryDirectory(prefix="lyftdata-volume-") as place:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", place],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
        try:
            yield Volume(Path(place))
        finally:
            # Lazily: a process that is about to end may still have a file open there.
            subprocess.run(["umount", "--lazy", place], check=True)
