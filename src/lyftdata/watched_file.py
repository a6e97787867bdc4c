"""
Notices when a file is replaced while a program runs, for example a renewed certificate.

To rotate one, write the file; nothing is restarted. A file that is missing, empty or half written for a moment changes
nothing: what was read last is used until there is something whole to read.
"""

from pathlib import Path


class WatchedFile:
    """
    Tells whether a file is another than when it was last asked about.

    Args:
        path: The file; links are followed, so that another target counts. None never changes.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Return whether it has changed since the last time; a file that is not there has not."""
        now = self._look()
        if now is None or now == self._seen:
            return False
        self._seen = now
        return True

    def forget(self) -> None:
        """Count the file as changed the next time, too: what it holds now could not be used."""
        self._seen = None

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = None if self._path is None else self._path.stat()
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)
