"""
Works on a Server's state from outside: backup, restore, moving to PostgreSQL.

It runs on the Server's host, as the Server's user, with the settings that locate its state, and needs no sign-in.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from sqlalchemy import URL, make_url

from lyftdata.core.errors import SettingsError
from lyftdata.core.progress import OnProgress, ignore_progress
from lyftdata.core.secret import Secret
from lyftdata.core.settings import read_settings
from lyftdata.server.admission.replay_file import discard_replays
from lyftdata.server.clock import Clock, utc_now
from lyftdata.server.runtime.data_dir import check_staging_dir, database_file, prepare_staging_dir
from lyftdata.server.runtime.secret_keys import audit_key_of, find_secret_key, secret_key_file
from lyftdata.server.runtime.settings import ALLOW_UNVERIFIED_HINT, find_unverified_database
from lyftdata.server.runtime.settings_table import TABLE
from lyftdata.server.runtime.settings_values import is_shared_database
from lyftdata.store import backup
from lyftdata.store.transfer import Transferred, transfer

_FIELDS = frozenset(
    {
        "staging_dir",
        "database_url",
        "allow_unverified_database",
        "secret_key",
        "secret_key_next",
    }
)


class StateLocation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Server's state is, and the keys that belong to it."""

    staging_dir: Path
    database_url: Secret | None
    allow_unverified_database: bool
    secret_key: Secret | None
    secret_key_next: Secret | None

    def secret_key_file(self) -> Path | None:
        """Return the file that holds the secret key, None if the key is a setting."""
        return None if self.secret_key is not None else secret_key_file(self.staging_dir)

    def sqlite_file(self) -> Path:
        """
        Return the path of the SQLite database.

        Raises:
            SettingsError: The settings are for PostgreSQL.
        """
        if self.database_url is None:
            return database_file(self.staging_dir)
        if is_shared_database(self.database_url):
            raise SettingsError(
                [
                    "LYFTDATA_DATABASE_URL: PostgreSQL is backed up and restored by its own tools (pg_dump, pg_restore); "
                    "this command is for SQLite."
                ]
            )
        return Path(make_url(self.database_url.reveal()).database or "")


def read_state_location(environ: Mapping[str, str], *, staging_dir: str | None = None) -> StateLocation:
    """
    Read the settings of the data directory and the database as a Server would; others are not checked.

    Args:
        environ: Environment variables.
        staging_dir: Overrides its variable.

    Raises:
        SettingsError: Names every fault.
    """
    values, _ = read_settings(
        [setting for setting in TABLE if setting.field in _FIELDS],
        environ=environ,
        flags={"--staging-dir": staging_dir},
        read_file=lambda path: Path(path).read_text(encoding="utf-8"),
    )
    place = StateLocation(**values)
    unverified = find_unverified_database(place.database_url, environ)
    if unverified and not place.allow_unverified_database:
        raise SettingsError([f"{unverified} {ALLOW_UNVERIFIED_HINT}"])
    return place


def back_up(place: StateLocation, to: Path, *, on_progress: OnProgress = ignore_progress) -> backup.Copied:
    """
    Copy the SQLite database to a new file, while the Server may be running.

    Raises:
        SettingsError: The settings are for another kind of database, or there is no secret key.
        StoreError: See `store.backup.back_up`.
    """
    database = place.sqlite_file()
    check_staging_dir(place.staging_dir)
    return backup.back_up(database, to, audit_key=_audit_key(place, database), on_progress=on_progress)


def restore(
    place: StateLocation,
    backup_file: Path,
    *,
    clock: Clock = utc_now,
    on_progress: OnProgress = ignore_progress,
) -> backup.Restored:
    """
    Replace the SQLite database of a stopped Server with a backup.

    Raises:
        SettingsError: The settings are for another kind of database, or there is no secret key.
        StoreError: See `store.backup.restore`.
    """
    database = place.sqlite_file()
    prepare_staging_dir(place.staging_dir)
    # It does not match the backup, which lacks what was used since it was made.
    discard_replays(place.staging_dir)
    return backup.restore(
        backup_file,
        database,
        audit_key=_audit_key(place, backup_file),
        now=clock(),
        on_progress=on_progress,
    )


def move_to_postgresql(
    place: StateLocation, *, source: Path | None = None, on_progress: OnProgress = ignore_progress
) -> Transferred:
    """
    Copy the state of a stopped Server to the PostgreSQL database in the settings.

    Args:
        place: The settings.
        source: The SQLite file; by default the one in the data directory.
        on_progress: Called with the progress.

    Raises:
        SettingsError: The settings name no PostgreSQL database, or there is no secret key.
        StoreError: See `store.transfer.transfer`.
    """
    if place.database_url is None or not is_shared_database(place.database_url):
        raise SettingsError(
            [
                "LYFTDATA_DATABASE_URL: must be the URL of the empty PostgreSQL database to move to, "
                "postgresql://user:password@host/database, or LYFTDATA_DATABASE_URL_FILE a file that holds it."
            ]
        )
    if source is None:
        check_staging_dir(place.staging_dir)
    moved = source or database_file(place.staging_dir)
    return transfer(
        moved,
        place.database_url.reveal(),
        audit_key=_audit_key(place, moved),
        on_progress=on_progress,
    )


def secret_key_of(place: StateLocation, database: str | URL) -> bytes:
    """
    Return the secret key of a database; raises like `secret_keys.find_secret_key`.

    Args:
        place: The settings.
        database: The database that the key must fit.
    """
    return find_secret_key(
        place.staging_dir, given=place.secret_key, given_next=place.secret_key_next, database=database
    )


def _audit_key(place: StateLocation, file: Path) -> bytes:
    return audit_key_of(secret_key_of(place, URL.create("sqlite", database=str(file))))
