"""The Server's data directory, and the secret key in it that the database does not hold."""

import base64
import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lyftdata.core.errors import SettingsError
from lyftdata.core.secret import Secret
from lyftdata.server.clock import RandomBytes

_SECRET_KEY_FILE = "secret.key"  # noqa: S105 - a file's name
_DATABASE_FILE = "lyftdata.db"


def prepare_staging_dir(path: Path) -> None:
    """
    Create the data directory (0700), or check that nobody else can read the one that is there.

    Raises:
        SettingsError: It cannot be made, is not a directory, is another user's, or is open to others.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([f"LYFTDATA_STAGING_DIR: {path} cannot be used: {error.strerror}."]) from error
    check_staging_dir(path)


def check_staging_dir(path: Path) -> None:
    """
    Check that the data directory is ours and nobody else can read it.

    Raises:
        SettingsError: It is not there, is another user's, is open to others, or cannot be written to.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SettingsError([f"LYFTDATA_STAGING_DIR: {path} cannot be used: {error.strerror}."]) from error
    if status.st_uid != os.geteuid():
        raise SettingsError([f"LYFTDATA_STAGING_DIR: {path} belongs to another user."])
    if stat.S_IMODE(status.st_mode) & 0o077:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise SettingsError(
            [f"LYFTDATA_STAGING_DIR: others can read {path} (mode {mode}). Mend it with: chmod 700 '{path}'"]
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise SettingsError([f"LYFTDATA_STAGING_DIR: {path} cannot be written to."])


def database_file(path: Path) -> Path:
    """Return where the state is in a data directory, unless it is somewhere else."""
    return path / _DATABASE_FILE


def secret_key_file(path: Path) -> Path:
    """Return where the secret key is in a data directory, unless it is given."""
    return path / _SECRET_KEY_FILE


def find_secret_key(path: Path, *, given: Secret | None) -> bytes:
    """
    Return the secret key that a Server has: the one given, or the one in the data directory; none is made.

    Raises:
        SettingsError: There is none, or it cannot be read.
    """
    if given is not None:
        return given.reveal().encode()
    file = secret_key_file(path)
    try:
        return _read(file)
    except FileNotFoundError as error:
        raise SettingsError(
            [
                f"LYFTDATA_SECRET_KEY: not set, and there is no {file}: put the Server's secret key there, or set it."
            ]
        ) from error
    except OSError as error:
        raise SettingsError([f"{file} cannot be read: {error.strerror}."]) from error


def load_secret_key(path: Path, *, given: Secret | None, random_bytes: RandomBytes) -> bytes:
    """
    Return the Server's secret key: the one given, the one in the data directory, or a new one put there.

    It encrypts the signing keys and keys the audit chain, so it is kept apart from the database: whoever has
    the database alone can neither sign tokens nor rewrite history.

    Raises:
        SettingsError: The file is there but cannot be read, or holds no key.
    """
    file = secret_key_file(path)
    if given is not None:
        return given.reveal().encode()
    try:
        return _read(file)
    except FileNotFoundError:
        _write_new(file, base64.urlsafe_b64encode(random_bytes(32)), draft_name=random_bytes(8).hex())
        return _read(file)
    except OSError as error:
        raise SettingsError([f"{file} cannot be read: {error.strerror}."]) from error


def derive_key(secret_key: bytes, *, purpose: str) -> bytes:
    """Return 32 bytes for one purpose (HKDF-SHA256, RFC 5869), so that no key serves two."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"lyftdata {purpose} v1".encode()).derive(
        secret_key
    )


def audit_key_of(secret_key: bytes) -> bytes:
    """Return the key of the audit chain."""
    return derive_key(secret_key, purpose="audit chain")


def _read(file: Path) -> bytes:
    key = file.read_bytes().strip()
    if len(key) < 32:  # noqa: PLR2004 - 32 characters, as the setting demands
        raise SettingsError([f"{file} holds no key: it was cut or emptied. Restore it from a backup."])
    return key


def _write_new(file: Path, key: bytes, *, draft_name: str) -> None:
    """
    Write the key so that a crash leaves either nothing or the whole of it, and never replace one.

    The draft's name is random: one that a crash has left behind must not stand in the way of every start after it.
    """
    draft = file.with_suffix(f".{draft_name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(key + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        # link() fails where the name exists: of two Servers starting at once, one key wins for both.
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
