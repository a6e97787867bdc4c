"""
Saves the spent assertions and proofs (`replay`) in the data directory for the next run of the Server.

Written at a clean shutdown, removed at startup: a run that crashed leaves no file, and no file is read twice.
Rollback: this is a file because the database may be restored from a backup, and would then lack what was spent since.
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

    `lost_before` is when the last run after a crash started: what was spent before that is missing.
    """

    assertions: dict[str, dict[str, float]]
    proofs: dict[str, dict[str, float]]
    lost_before: datetime | None = None


prepare_structs(KeptReplays)


def load_replays(staging_dir: Path) -> KeptReplays | None:
    """
    Return what the last run saved, and remove the file; None if there is none, as after a crash.

    Stale state: when this returns, the removal is on the disk, so that a run after a crash cannot read the file of an older run.

    Raises:
        SettingsError: The file exists but cannot be removed.
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
    """Save what was spent for the next run; if that fails, the next start is treated like one after a crash."""
    try:
        write_private_atomic(staging_dir / _FILE, msgspec.json.encode(kept))
    except OSError as error:
        emit(_log, USED_ASSERTIONS_NOT_KEPT, problem=str(error))


def discard_replays(staging_dir: Path) -> None:
    """Remove what the last run saved, because the database was restored or replaced and no longer matches it."""
    with contextlib.suppress(FileNotFoundError):
        (staging_dir / _FILE).unlink()
