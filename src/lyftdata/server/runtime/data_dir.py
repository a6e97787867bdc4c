"""The Server's data directory, and the secret key in it, which is not in the database."""

import base64
import codecs
import os
from pathlib import Path

from lyftdata.core import encoding
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.secret import Secret
from lyftdata.private_files import PrivateDirectory
from lyftdata.server.admin.secret_strength import check_secret_key
from lyftdata.server.clock import RandomBytes

_SETTING = "LYFTDATA_STAGING_DIR"
_SECRET_KEY_FILE = "secret.key"  # noqa: S105 - a file's name
_DATABASE_FILE = "lyftdata.db"


def prepare_staging_dir(path: Path) -> None:
    """
    Create the data directory (0700), or check that no other user can read the existing one.

    Raises:
        SettingsError: It cannot be made, is not a directory, is another user's, or is open to others.
    """
    try:
        _private(path).make()
    except OSError as error:
        raise _cannot_be_used(path, error) from error
    _check_writable(path)


def check_staging_dir(path: Path) -> None:
    """
    Check that the data directory is the Server's and no other user can read it.

    Raises:
        SettingsError: It is not there, is another user's, is open to others, or cannot be written to.
    """
    try:
        _private(path).check()
    except OSError as error:
        raise _cannot_be_used(path, error) from error
    _check_writable(path)


def check_staging_dir_or_parent(path: Path) -> None:
    """
    Check the data directory, or, where there is none, that it can be made.

    Raises:
        SettingsError: It cannot be used or made.
    """
    try:
        if _private(path).exists():
            check_staging_dir(path)
            return
        above = next(parent for parent in path.parents if parent.exists())
    except OSError as error:
        raise _cannot_be_used(path, error) from error
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise SettingsError(
            [f"{_SETTING}: {path} cannot be made: {above} is not a directory that this user can write to."]
        )


def check_secret_key_file(path: Path) -> None:
    """Check the secret key in a data directory, if there is one; raises SettingsError."""
    _read(path)


def _private(path: Path) -> PrivateDirectory:
    return PrivateDirectory(path, named_by=_SETTING, child="server")


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK | os.X_OK):
        raise SettingsError([f"{_SETTING}: {path} cannot be written to."])


def _cannot_be_used(path: Path, error: OSError) -> SettingsError:
    return SettingsError([f"{_SETTING}: {path} cannot be used: {error.strerror}."])


def database_file(path: Path) -> Path:
    """Return the path of the SQLite database in a data directory, used unless LYFTDATA_DATABASE_URL names another."""
    return path / _DATABASE_FILE


def secret_key_file(path: Path) -> Path:
    """Return the path of the secret key in a data directory, used unless LYFTDATA_SECRET_KEY is set."""
    return path / _SECRET_KEY_FILE


def find_secret_key(path: Path, *, given: Secret | None) -> bytes:
    """
    Return the secret key that a Server has: the one given, or the one in the data directory; none is made.

    Raises:
        SettingsError: There is none, or it cannot be read.
    """
    if given is not None:
        return given.reveal().encode()
    key = _read(path)
    if key is None:
        file = secret_key_file(path)
        raise SettingsError(
            [
                f"LYFTDATA_SECRET_KEY: not set, and there is no {file}: put the Server's secret key there, or set it."
            ]
        )
    return key


def load_secret_key(path: Path, *, given: Secret | None, random_bytes: RandomBytes) -> bytes:
    """
    Return the Server's secret key: the one given, the one in the data directory, or a new one put there.

    It encrypts the signing keys and keys the audit chain, so it is kept apart from the database: anyone who has
    the database alone can neither sign tokens nor rewrite history.

    Raises:
        SettingsError: The file is there but cannot be read, or holds no key.
    """
    if given is not None:
        return given.reveal().encode()
    key = _read(path)
    if key is None:
        try:
            # Of two Servers starting at once, one key wins for both.
            _private(path).create(_SECRET_KEY_FILE, base64.urlsafe_b64encode(random_bytes(32)) + b"\n")
        except OSError as error:
            raise _cannot_be_used(path, error) from error
        key = _read(path)
    if key is None:
        raise SettingsError([f"{secret_key_file(path)} was removed while the Server started."])
    return key


def derive_key(secret_key: bytes, *, purpose: str) -> bytes:
    """Return 32 bytes for one purpose, from the Server's secret key."""
    return encoding.derive_key(secret_key, info=f"lyftdata {purpose} v1".encode())


def audit_key_of(secret_key: bytes) -> bytes:
    """Return the key of the audit chain."""
    return derive_key(secret_key, purpose="audit chain")


def _read(path: Path) -> bytes | None:
    """Return the key in a data directory, None if there is none."""
    file = secret_key_file(path)
    try:
        key = _private(path).read(_SECRET_KEY_FILE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError([f"{file} cannot be read: {error.strerror}."]) from error
    if key is None:
        return None
    # As LYFTDATA_SECRET_KEY_FILE reads a copy of it.
    key = key.removeprefix(codecs.BOM_UTF8).strip()
    if len(key) < 32:  # noqa: PLR2004 - 32 characters, as the setting demands
        raise SettingsError([f"{file} holds no key: it was cut or emptied. Restore it from a backup."])
    try:
        check_secret_key(Secret(key.decode("utf-8", "replace")))
    except InvalidInputError as error:
        raise SettingsError([f"{file} {error.message}."]) from error
    return key
