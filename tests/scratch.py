"""
Makes the directory that a test run writes to: in memory if there is room.

Tests make thousands of databases, and on a disk each commit waits for it. A killed process loses nothing in memory either. Tests
about disks (`small_disks.py`, `tests/behaviour/chaos/volume.py`) make their own file systems.
"""

import os
import sys
import tempfile
from pathlib import Path

# A whole run uses 8 GiB, which it removes at its end.
ROOM = 12 * 2**30
_IN_MEMORY = Path("/dev/shm")


def choose_directory(candidate: Path = _IN_MEMORY, *, room: int = ROOM, needs_devices: bool = False) -> Path:
    """
    Return the candidate if programs can be started from it and it has enough room, else the usual directory for temporary files.

    Args:
        candidate: A directory, usually a file system in memory.
        room: The bytes that must be free, in the file system and in the machine's memory.
        needs_devices: Whether device files are made and used in it, as in the root of a system.
    """
    usual = Path(tempfile.gettempdir())
    if "TMPDIR" in os.environ or not candidate.is_dir():
        return usual
    found = os.statvfs(candidate)
    # Containers have a small one, often mounted noexec.
    free = min(found.f_bavail * found.f_frsize, _available_memory())
    hindered = os.ST_NOEXEC | (os.ST_NODEV if needs_devices else 0)
    is_usable = os.access(candidate, os.W_OK | os.X_OK) and not found.f_flag & hindered
    return candidate if is_usable and free >= room else usual


def _available_memory() -> int:
    """Return the bytes of memory that programs can still get (`proc_meminfo(5)`); 0 if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    kilobytes = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(next(kilobytes, "0")) * 1024


def make_directory(*, needs_devices: bool = False) -> Path:
    """Make an empty directory with the mode of /tmp, since PostgreSQL runs as another user; the caller removes it."""
    # Short, since the path of a socket has at most 107 bytes.
    made = Path(tempfile.mkdtemp(prefix="t", dir=choose_directory(needs_devices=needs_devices)))
    made.chmod(0o1777)
    return made


if __name__ == "__main__":
    print(make_directory(needs_devices="--devices" in sys.argv))
