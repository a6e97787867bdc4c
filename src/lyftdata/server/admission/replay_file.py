"""
Hands what was used (`replay`) on from one run of a Server to the next, in a file of its data directory.

Written when the Server ends in order, taken away when it starts: so a run that crashed leaves none, and none is read twice.
A file and not the database, which may be put back to an earlier state: then it would forget what was used since.
"""

import contextlib
from datetime import datetime
from pathlib import Path

import msgspec

from lyftdata.core.errors import SettingsError
from lyftdata.core.log_events.server import USED_ASSERTIONS_NOT_KEPT, USED_ASSERTIONS_UNREADABLE
from lyftdata.log import emit, get_logger
from lyftdata.private_files import sync_directory, write_private_atomic

_log = get_logger(__name__)

_FILE = "used-assertions.json"


class KeptReplays(msgspec.Struct, frozen=True):
    """
    What was used, by Worker and `jti`: assertions, and proofs of possession.

    `lost_before` is when the last run that followed on a crash started: what was used before that is not among them.
    """

    assertions: dict[str, dict[str, float]]
    proofs: dict[str, dict[str, float]]
    lost_before: datetime | None = None


def take_replays(staging_dir: Path) -> KeptReplays | None:
    """
    Return what the last run has left, and remove it; None if it has left nothing, as after a crash.

    Once this returns the file is gone from the disk: a later run must not take it for what its predecessor has left.

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


def leave_replays(staging_dir: Path, kept: KeptReplays) -> None:
    """Leave what was used for the next run; where that fails, the next start is like one after a crash."""
    try:
        write_private_atomic(staging_dir / _FILE, msgspec.json.encode(kept))
    except OSError as error:
        emit(_log, USED_ASSERTIONS_NOT_KEPT, problem=str(error))


def discard_replays(staging_dir: Path) -> None:
    """Remove what the last run has left: what it says is not the whole truth about another state of the database."""
    with contextlib.suppress(FileNotFoundError):
        (staging_dir / _FILE).unlink()
