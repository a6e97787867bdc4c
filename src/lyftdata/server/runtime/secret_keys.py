"""
The Server's secret key, which is not in the database: where it is stored, which of two fits, and the keys derived from it.

There may be two while `lyftdata admin rotate-secret-key` runs, and after it was interrupted.
"""

import base64
import codecs
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import URL

from lyftdata.core import encoding
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.secret import Secret
from lyftdata.core.secret_key import key_forms
from lyftdata.private_files import sync_directory
from lyftdata.server.admin.secret_strength import check_secret_key
from lyftdata.server.clock import RandomBytes
from lyftdata.server.runtime.data_dir import cannot_be_used, private_directory
from lyftdata.store.key_fit import KeyCheck, load_key_check

_SECRET_KEY_FILE = "secret.key"  # noqa: S105 - a file's name
_NEXT_KEY_FILE = "secret.key.next"


def check_secret_key_file(path: Path) -> None:
    """Check the secret key file in a data directory, if there is one; raises SettingsError."""
    for name in (_SECRET_KEY_FILE, _NEXT_KEY_FILE):
        _read(path, name)


def secret_key_file(path: Path) -> Path:
    """Return the path of the secret key in a data directory, used unless LYFTDATA_SECRET_KEY is set."""
    return path / _SECRET_KEY_FILE


def next_secret_key_file(path: Path) -> Path:
    """Return the path of the new secret key while `lyftdata admin rotate-secret-key` changes the database to it."""
    return path / _NEXT_KEY_FILE


def find_secret_key(
    path: Path, *, given: Secret | None, given_next: Secret | None = None, database: str | URL | None = None
) -> bytes:
    """
    Return a Server's secret key, from the settings or the data directory; none is generated.

    Slow if a person may have chosen it: see `core.secret_key`.

    Args:
        path: The data directory.
        given: The key in the settings.
        given_next: The next key in the settings.
        database: Decides which key to use if there may be two: a rotation was interrupted, or the database is older than the
         way in which text is turned into a key.

    Raises:
        SettingsError: There is no key, or it cannot be read.
        StoreError: The database is needed to decide, and cannot be used.
    """
    keys = _possible_keys(path, given, given_next)
    if not keys:
        file = secret_key_file(path)
        raise SettingsError(
            [
                f"LYFTDATA_SECRET_KEY: not set, and there is no {file}: put the Server's secret key there, or set it."
            ]
        )
    return _choose(keys, database)


def load_secret_key(
    path: Path,
    *,
    given: Secret | None,
    given_next: Secret | None = None,
    random_bytes: RandomBytes,
    database: str | URL | None = None,
) -> bytes:
    """
    Return the Server's secret key: from the settings, from the data directory, or a new one stored there.

    It encrypts the signing keys and keys the audit chain, so it is kept separate from the database: an attacker who only has
    the database can neither sign tokens nor rewrite history. The arguments are those of `find_secret_key`.

    Raises:
        SettingsError: The file exists but cannot be read, or does not contain a key.
        StoreError: As for `find_secret_key`.
    """
    keys = _possible_keys(path, given, given_next)
    if not keys:
        try:
            # If two Servers start at once, both use the same key.
            private_directory(path).create(_SECRET_KEY_FILE, make_secret_key(random_bytes) + b"\n")
        except OSError as error:
            raise cannot_be_used(path, error) from error
        keys = _possible_keys(path, given, given_next)
    if not keys:
        raise SettingsError([f"{secret_key_file(path)} was removed while the Server started."])
    return _choose(keys, database)


def make_secret_key(random_bytes: RandomBytes) -> bytes:
    """Return a new secret key."""
    return base64.urlsafe_b64encode(random_bytes(32))


def write_next_secret_key(path: Path, key: bytes) -> None:
    """
    Store a new secret key next to the current one, durably.

    Raises:
        SettingsError: It cannot be written.
    """
    try:
        private_directory(path).write(_NEXT_KEY_FILE, key + b"\n")
    except OSError as error:
        raise cannot_be_used(path, error) from error


def settle_secret_key(path: Path, *, database: str | URL) -> bool | None:
    """
    Finish an interrupted rotation: keep the key that fits the database. The caller has locked the database.

    Returns:
        Whether the new key was kept; None if there was nothing to do, or neither fits.

    Raises:
        SettingsError: A key cannot be read, replaced or removed.
        StoreError: The database cannot be used.
    """
    new = _read(path, _NEXT_KEY_FILE)
    if new is None:
        return None
    current = _read(path, _SECRET_KEY_FILE)
    check = load_key_check(database)
    is_new = _fits_any(check, key_forms(new))
    if not is_new and (current is None or not _fits_any(check, key_forms(current))):
        # The database is damaged, or a different one. Either key may still be needed.
        return None
    try:
        if is_new:
            next_secret_key_file(path).replace(secret_key_file(path))
        else:
            next_secret_key_file(path).unlink()
        sync_directory(path)
    except OSError as error:
        raise cannot_be_used(path, error) from error
    return is_new


def _possible_keys(path: Path, given: Secret | None, given_next: Secret | None) -> list[bytes]:
    """Return the keys that may belong to the database, the most likely one first; empty if there are none."""
    if given is not None:
        texts = [given.reveal().encode()]
    else:
        texts = [text for name in (_SECRET_KEY_FILE, _NEXT_KEY_FILE) if (text := _read(path, name))]
    if texts and given_next is not None:
        texts.append(given_next.reveal().encode())
    return [key for text in texts for key in key_forms(text)]


def _choose(keys: Sequence[bytes], database: str | URL | None) -> bytes:
    if len(keys) == 1 or database is None:
        return keys[0]
    check = load_key_check(database)
    return next((key for key in keys if _fits_any(check, [key])), keys[0])


def _fits_any(check: KeyCheck, keys: Iterable[bytes]) -> bool:
    return any(check.fits(audit_key=audit_key_of(key), kek=kek_of(key)) for key in keys)


def derive_key(secret_key: bytes, *, purpose: str) -> bytes:
    """Derive a key of 32 bytes for one purpose from the Server's secret key."""
    return encoding.derive_key(secret_key, info=f"lyftdata {purpose} v1".encode())


def audit_key_of(secret_key: bytes) -> bytes:
    """Return the key of the audit chain."""
    return derive_key(secret_key, purpose="audit chain")


def kek_of(secret_key: bytes) -> bytes:
    """Return the key that encrypts the signing keys."""
    return derive_key(secret_key, purpose="signing keys")


def fingerprint_pepper_of(secret_key: bytes) -> bytes:
    """Return the key of the fingerprints of enrollment keys that are settings."""
    return derive_key(secret_key, purpose="enrollment fingerprint")


def _read(path: Path, name: str) -> bytes | None:
    """Return the text of a key file in a data directory, None if it does not exist."""
    file = path / name
    try:
        key = private_directory(path).read(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError([f"{file} cannot be read: {error.strerror}."]) from error
    if key is None:
        return None
    # Parsed like a copy of it in LYFTDATA_SECRET_KEY_FILE.
    key = key.removeprefix(codecs.BOM_UTF8).strip()
    if len(key) < 32:  # noqa: PLR2004 - 32 characters, as the setting demands
        raise SettingsError([f"{file} holds no key: it was cut or emptied. Restore it from a backup."])
    try:
        check_secret_key(Secret(key.decode("utf-8", "replace")))
    except InvalidInputError as error:
        raise SettingsError([f"{file} {error.message}."]) from error
    return key
