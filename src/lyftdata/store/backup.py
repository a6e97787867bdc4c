"""
Copies an SQLite database while a Server uses it, and restores such a copy.

A copy is a snapshot of one moment, and is verified before it counts as a backup. Nothing here overwrites anything: a backup is a new
file, and restoring keeps the replaced database under another name.
"""

import contextlib
import os
import secrets
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from lyftdata.core.audit import ChainReport
from lyftdata.core.progress import OnProgress, ignore_progress
from lyftdata.core.records import Strategy
from lyftdata.private_files import others_can_write, sync_directory
from lyftdata.store import audit_tree, migrate
from lyftdata.store.dialects import dialect, sqlite
from lyftdata.store.errors import DatabaseInUseError, StoreError

_BESIDE = ("-wal", "-shm")
_PAGES_AT_ONCE = 2_000


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified copy contains."""

    file: Path
    bytes: int
    schema: str
    audit: ChainReport


class MissingWorker(msgspec.Struct, frozen=True):
    """A Worker that the replaced database has and the restored backup lacks."""

    id: str
    name: str
    strategy: Strategy


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was restored, and where the replaced database is now; None if there was none.

    `missing` are the Workers added or enrolled since the backup; None if the replaced database cannot be read.
    """

    copied: Copied
    kept: Path | None
    missing: Sequence[MissingWorker] | None = ()


def back_up(
    database: Path, to: Path, *, audit_key: bytes, on_progress: OnProgress = ignore_progress
) -> Copied:
    """
    Copy a database to a new file that only its owner can read (0600), while a Server may be using it.

    The file gets its name only once the copy is complete. A tampered audit log is reported, but the copy is kept: it is evidence, and
    the rest of the database still needs a backup.

    Args:
        database: The SQLite file.
        to: The new file.
        audit_key: Keys the audit chain.
        on_progress: Called with the progress; if it raises, as on Ctrl-C, no file is left.

    Raises:
        StoreError: The database is missing or damaged, or the new file exists already or cannot be written.
    """
    check_not_empty(database)
    sqlite.check_file_permissions(database)
    with _new_file(to) as draft:
        copy(database, draft, on_progress=on_progress)
        found = check(draft, audit_key=audit_key, on_progress=on_progress)
        _sync(draft)
        # This replaces the empty file that reserved the name.
        draft.replace(to)
        sync_directory(to.parent)
    return msgspec.structs.replace(found, file=to)


def restore(
    backup: Path,
    database: Path,
    *,
    audit_key: bytes,
    now: datetime,
    on_progress: OnProgress = ignore_progress,
) -> Restored:
    """
    Replace a database that no Server is using with a backup.

    Args:
        backup: A file made by `back_up`; it is not changed.
        database: The SQLite file; an existing one is kept under another name.
        audit_key: Keys the audit chain.
        now: Used to name the kept file; aware UTC.
        on_progress: Called with the progress; if it raises, nothing is changed.

    Raises:
        StoreError: A Server is using the database, or the backup is damaged, was changed, belongs to another secret key,
            is of a newer version than this program, or has a log that another user may have written; then everything is as it was.
    """
    check_not_empty(backup)
    with locked(database), draft_file(database) as draft:
        copy(backup, draft, alone=_is_alone(backup), on_progress=on_progress)
        found = check(draft, audit_key=audit_key, on_progress=on_progress)
        if not found.audit.ok:
            raise StoreError(
                f"The audit log in {backup} does not fit the secret key. {found.audit.problem}",
                hint="Nothing was changed. The backup needs the secret key of the Server that it is of: LYFTDATA_SECRET_KEY, "
                "or secret.key in the data directory.",
            )
        _sync(draft)
        # Until the new database has its name, the old one is there without its log: Ctrl-C must wait.
        with _signals_held_back():
            # Taking the lock creates an empty file if there is none.
            kept = _keep_previous_database(database, now) if database.stat().st_size else None
            draft.replace(database)
            sync_directory(database.parent)
    missing = () if kept is None else _missing_workers(kept, database)
    return Restored(copied=msgspec.structs.replace(found, file=database), kept=kept, missing=missing)


def _is_alone(backup: Path) -> bool:
    """
    Return whether only the file itself counts as the backup; otherwise a log next to it does, as next to a copied database.

    Planted state: SQLite applies a log that it finds next to a file. Where others can write, as in /tmp, such a log may be another user's, and
    would be restored with the backup. One that appears only after this check is not read.

    Raises:
        StoreError: There is a log that another user may have written.
    """
    real = Path(os.path.realpath(backup))
    try:
        if not others_can_write(real.parent):
            return False
    except OSError as error:
        raise StoreError(f"{backup} cannot be read: {error.strerror}.") from error
    for part in ("-journal", *_BESIDE):
        log = real.with_name(real.name + part)
        if log.is_symlink() or log.exists():
            raise StoreError(
                f"Others can write to {real.parent}, and {log.name} in it would be restored with the backup.",
                hint="Move the backup alone to a directory of this user's own. What `lyftdata admin backup` made is one file.",
            )
    return True


def _missing_workers(kept: Path, restored: Path) -> list[MissingWorker] | None:
    """Return the Workers that only the replaced database has, by name; None if it is damaged."""
    try:
        known = {worker.id for worker in _workers_of(restored)}
        found = [worker for worker in _workers_of(kept) if worker.id not in known]
    except (sqlite3.Error, UnicodeError, ValueError):
        return None
    return sorted(found, key=lambda worker: (worker.name, worker.id))


def _workers_of(database: Path) -> list[MissingWorker]:
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as raw:
        raw.execute("PRAGMA trusted_schema=OFF").close()
        rows = raw.execute("SELECT id, name, strategy FROM workers").fetchall()
    return [MissingWorker(str(row[0]), str(row[1]), Strategy(row[2])) for row in rows]


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """
    Defer SIGINT, SIGTERM and SIGHUP until the block has ended.

    By handlers, not the thread's signal mask: another thread may receive the signal, but handlers run in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread can install handlers.
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """
    Keep every Server from using a database during the block.

    Raises:
        StoreError: A Server is using it.
    """
    was_there = database.exists()
    try:
        lock = sqlite.lock(str(database))
    except DatabaseInUseError as error:
        raise StoreError(f"A Server is using the database {database}.", hint="Stop it first.") from error
    try:
        yield
    finally:
        if not was_there and not database.stat().st_size:
            database.unlink()
        dialect.unlock_database(lock)


def check_not_empty(file: Path) -> None:
    """
    Raise StoreError unless the file exists and is not empty.

    Raises:
        StoreError: It does not exist, is empty, or cannot be read.
    """
    try:
        is_there = file.is_file() and file.stat().st_size > 0
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}.") from error
    if not is_there:
        raise StoreError(f"There is no database at {file}.")


def copy(database: Path, to: Path, *, alone: bool = False, on_progress: OnProgress = ignore_progress) -> None:
    """
    Copy a database as it is at one moment, even while others write to it.

    Args:
        database: The database.
        to: A new or empty file.
        alone: Whether to ignore what is next to the database; then no other program may write to it.
        on_progress: Called with the progress.

    Raises:
        StoreError: It cannot be read, or the copy cannot be written.
    """
    # Read-only: this leaves even the write-ahead log of an unopened database alone. (SQLite creates an empty one if there was
    # none. It is not removed: a Server may have begun to use it.)
    source_uri = f"{database.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    try:
        with (
            contextlib.closing(sqlite3.connect(source_uri, uri=True)) as source,
            contextlib.closing(sqlite3.connect(to)) as target,
        ):
            # Hold one read transaction: otherwise a write by another process would restart the copy, endlessly under load.
            source.execute("BEGIN").close()
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(
                target,
                pages=_PAGES_AT_ONCE,
                progress=lambda _status, left, total: on_progress("Copying", total - left, total),
            )
            source.rollback()
            # A single file, without a write-ahead log, that can be copied anywhere.
            target.execute("PRAGMA journal_mode=DELETE").close()
    except (sqlite3.Error, UnicodeError) as error:
        # UnicodeError: SQLite's own message can repeat the bytes of a damaged schema.
        raise StoreError(f"The database {database} cannot be copied: {error}.") from error


def check(database: Path, *, audit_key: bytes, on_progress: OnProgress = ignore_progress) -> Copied:
    """
    Check a copy that no other program has open: its structure, foreign keys, version, and audit chain.

    Raises:
        StoreError: It is damaged, not a lyftdata database, or has a version that this program does not support.
    """
    try:
        on_progress("Checking the database", 0, 0)
        _check_structure(database)
        on_progress("Checking the database", 1, 1)
        engine = sqlite.make_engine(URL.create("sqlite", database=str(database)))
        try:
            with dialect.for_reading(engine).connect() as conn:
                migrate.check_known(conn)
                schema = migrate.current_version(conn)
                report = audit_tree.verify(conn, key=audit_key, on_progress=on_progress)
        finally:
            engine.dispose()
        with contextlib.closing(sqlite3.connect(database)) as raw:
            # The engine has left the database in WAL mode, as a Server does.
            raw.execute("PRAGMA journal_mode=DELETE").close()
    except (sqlite3.Error, UnicodeError, DBAPIError) as error:
        problem = error.orig if isinstance(error, DBAPIError) else error
        raise StoreError(f"The copy cannot be read: {problem}.") from error
    return Copied(file=database, bytes=database.stat().st_size, schema=str(schema), audit=report)


def _check_structure(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as raw:
        # The file is not trusted yet: its schema must not run any functions.
        raw.execute("PRAGMA trusted_schema=OFF").close()
        faults = [str(row[0]) for row in raw.execute("PRAGMA integrity_check(3)")]
        if faults != ["ok"]:
            raise StoreError(f"The database is damaged: {'; '.join(faults)}.")
        if raw.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise StoreError("The database is damaged: it has rows that refer to missing rows.")


@contextlib.contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """
    Reserve an unused name, and create a draft in a directory of its own next to it, both for their owner alone; on failure neither is left.

    Planted state: others may be able to write where backups go, as in /tmp. SQLite replays a journal that it finds next to a file, so one that
    another user put next to the draft would become part of the backup, and pass every check of it.
    """
    try:
        _make_private(file)
    except FileExistsError as error:
        raise StoreError(f"{file} exists already; nothing was written.") from error
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}.") from error
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as private:
            draft = Path(private) / "draft"
            _make_private(draft)
            yield draft
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(f"{file} cannot be written: {error.strerror}.") from error
        raise


@contextlib.contextmanager
def draft_file(database: Path) -> Iterator[Path]:
    """
    Create an empty file of mode 0600 next to a database; it is removed at the end unless it was renamed.

    Raises:
        StoreError: It cannot be created.
    """
    draft = database.with_name(f"{database.name}.draft-{secrets.token_hex(4)}")
    try:
        _make_private(draft)
        yield draft
    except OSError as error:
        raise StoreError(f"{database.parent} cannot be written to: {error.strerror}.") from error
    finally:
        _remove(draft)


def _keep_previous_database(database: Path, now: datetime) -> Path:
    """
    Hard-link the existing database and its log to a second name, and remove the log from the first name.

    The old database is not opened for this: it may be damaged, and SQLite discards a log that does not match. Nor may the old log be
    applied to the new database, whose pages it would overwrite.
    """
    aside = database.with_name(f"{database.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
    # Linked, not renamed: after a crash between two renames there would be no database, and the next start would create a new one.
    os.link(database, aside)
    log, index = (database.with_name(database.name + part) for part in _BESIDE)
    with contextlib.suppress(FileNotFoundError):
        os.link(log, aside.with_name(aside.name + _BESIDE[0]))
    sync_directory(database.parent)
    log.unlink(missing_ok=True)
    # SQLite rebuilds the -shm file from the log.
    index.unlink(missing_ok=True)
    # Before the new database gets the name: after a power cut the old log must not be next to it.
    sync_directory(database.parent)
    return aside


def _make_private(file: Path) -> None:
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _remove(draft: Path) -> None:
    for part in ("", "-journal", *_BESIDE):
        draft.with_name(draft.name + part).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
