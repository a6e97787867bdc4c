"""
Keeps the last signed checkpoint of the audit log in the data directory, outside the database.

Rollback: someone who can put the database back to an earlier state puts back everything in it. This file stays, and a Server that
starts compares the log with it.
"""

from datetime import datetime
from pathlib import Path

from lyftdata.core.audit_checkpoints import Checkpoint, CheckpointError, read_checkpoint
from lyftdata.core.errors import SettingsError
from lyftdata.private_files import PrivateDirectory

FILE = "audit-checkpoint.txt"


class KeptCheckpoint:
    """
    The file that holds the last checkpoint, as it was signed.

    Args:
        staging_dir: The Server's data directory.
    """

    def __init__(self, staging_dir: Path) -> None:
        self._directory = PrivateDirectory(staging_dir, named_by="LYFTDATA_STAGING_DIR", child="server")
        self.path = staging_dir / FILE

    def load(self) -> Checkpoint | None:
        """
        Return what was kept, None if nothing was. The signature does not matter here: the log has that root, or has not.

        Raises:
            SettingsError: The file cannot be read, or others can write to it.
            CheckpointError: It holds something else.
        """
        try:
            content = self._directory.read(FILE)
        except FileNotFoundError:
            # A host that has run no Server yet has no directory either.
            return None
        except OSError as error:
            raise SettingsError(
                [f"LYFTDATA_STAGING_DIR: {self.path} cannot be read: {error.strerror}."]
            ) from error
        if content is None:
            return None
        try:
            return read_checkpoint(content.decode())
        except UnicodeError as error:
            raise CheckpointError("This is not a checkpoint of an audit log.") from error

    def save(self, note: str) -> None:
        """
        Keep a checkpoint, unless one of more events is kept already; raises OSError or SettingsError if it cannot be written.

        The processes of one Server share the file, and one that is late must not put back what another has kept.
        """
        with self._directory.locked():
            if not self._is_of_more_events_kept(note):
                self._directory.write(FILE, note.encode())

    def _is_of_more_events_kept(self, note: str) -> bool:
        try:
            kept = self.load()
            return kept is not None and kept.size > read_checkpoint(note).size
        except (CheckpointError, SettingsError):
            # Not a checkpoint: the one that was signed takes its place, as ever.
            return False

    def put_aside(self, now: datetime) -> Path:
        """Give the file another name, under which it is evidence and not compared any more; return the name."""
        aside = self.path.with_name(f"{FILE}.before-{now:%Y%m%dT%H%M%SZ}")
        self.path.replace(aside)
        return aside
