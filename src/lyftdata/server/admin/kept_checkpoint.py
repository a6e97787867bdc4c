"""
Saves the last signed checkpoint of the audit log in the data directory, outside the database.

Rollback: an attacker who can reset the database to an earlier state resets everything in it. This file is not affected, and a Server
compares the log with it at startup.
"""

from datetime import datetime
from pathlib import Path

from lyftdata.core.audit_checkpoints import Checkpoint, CheckpointError, read_checkpoint
from lyftdata.core.errors import SettingsError
from lyftdata.private_files import PrivateDirectory

FILE = "audit-checkpoint.txt"


class KeptCheckpoint:
    """
    The file with the last checkpoint, as it was signed.

    Args:
        staging_dir: The Server's data directory.
    """

    def __init__(self, staging_dir: Path) -> None:
        self._directory = PrivateDirectory(staging_dir, named_by="LYFTDATA_STAGING_DIR", child="server")
        self.path = staging_dir / FILE

    def load(self) -> Checkpoint | None:
        """
        Return the saved checkpoint, None if there is none. Its signature is not verified: either the log has that root, or not.

        Raises:
            SettingsError: The file cannot be read, or others can write to it.
            CheckpointError: It contains something else.
        """
        try:
            content = self._directory.read(FILE)
        except FileNotFoundError:
            # A host that has not run a Server yet has no data directory.
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
        """Rename the file, so that it is kept as evidence but no longer compared; return the new path."""
        aside = self.path.with_name(f"{FILE}.before-{now:%Y%m%dT%H%M%SZ}")
        self.path.replace(aside)
        return aside
