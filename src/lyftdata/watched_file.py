"""
Notices when a file is replaced while a program runs, for example a renewed certificate.

To rotate a file, write it; nothing is restarted. A file that is briefly missing, empty or half written changes nothing: the last
content is used until there is a complete one.
"""

from pathlib import Path


class WatchedFile:
    """
    Reports whether a file was replaced since the last check.

    Args:
        path: The file; links are followed, so that a new target counts. None never changes.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Return whether it has changed since the last call; a missing file has not."""
        now = self._look()
        if now is None or now == self._seen:
            return False
        self._seen = now
        return True

    def forget(self) -> None:
        """Report the file as changed at the next call, because its present content could not be used."""
        self._seen = None

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = None if self._path is None else self._path.stat()
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)
