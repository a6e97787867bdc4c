"""
Stores the spent assertions and proofs (`replay`) in the data directory, from one run of a Server to the next.

Written when the Server shuts down cleanly, removed when it starts: a run that crashed leaves no file, and none is read twice.
Rollback: a file and not the database, which may be restored from a backup and would then not know what was spent since.
"""

import contextlib
from datetime import datetime
from pathlib import Path

import msgspec

from lyftdata.core.errors import SettingsError
from lyftdata.core.log_events.server import USED_ASSERTIONS_NOT_KEPT, USED_ASSERTIONS_UNREADABLE
from lyftdata.core.structs import prepare_structs
from lyftdata.log import emit, get_logger
from lyftdata.private_files import sync_directory, write_private_atomic

_log = get_logger(__name__)

_FILE = "used-assertions.json"


class KeptReplays(msgspec.Struct, frozen=True):
    """
    The spent assertions and proofs of possession, by Worker and `jti`.

    `lost_before` is when the last run that followed a crash started: what was spent before is not among them.
    """

    assertions: dict[str, dict[str, float]]
    proofs: dict[str, dict[str, float]]
    lost_before: datetime | None = None


prepare_structs(KeptReplays)


def load_replays(staging_dir: Path) -> KeptReplays | None:
    """
    Return what the last run stored, and remove the file; None if there is none, as after a crash.

    Stale state: once this returns the removal is on the disk, so that a run after a crash cannot read an older run's file.

    Raises:
        SettingsError: There is a file, and it cannot be removed.
    """
    file = staging_dir / _FILE
    try:
        raw = file.read_bytes()
        file.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(
            [f"LYFTDATA_STAGING_DIR: {file} cannot be read and removed: {error.strerror}."]
        ) from error
    try:
        sync_directory(staging_dir)
        return msgspec.json.decode(raw, type=KeptReplays)
    except (OSError, msgspec.DecodeError) as error:
        emit(_log, USED_ASSERTIONS_UNREADABLE, file=str(file), problem=str(error))
        return None


def save_replays(staging_dir: Path, kept: KeptReplays) -> None:
    """Store what was spent for the next run; if that fails, the next start is like one after a crash."""
    try:
        write_private_atomic(staging_dir / _FILE, msgspec.json.encode(kept))
    except OSError as error:
        emit(_log, USED_ASSERTIONS_NOT_KEPT, problem=str(error))


def discard_replays(staging_dir: Path) -> None:
    """Remove what the last run stored: it does not match a database that was restored or replaced."""
    with contextlib.suppress(FileNotFoundError):
        (staging_dir / _FILE).unlink()
