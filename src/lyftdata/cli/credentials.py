"""Stores the command line's sessions and device marks in one file of mode 0600 in a private directory."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from lyftdata.core.errors import InvalidInputError, LyftdataError, SettingsError
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import trim
from lyftdata.private_files import PrivateDirectory
from lyftdata.user_paths import default_config_dir, parse_path

_FILE = "credentials.json"


class Credentials:
    """
    Session tokens by Server URL, and device marks by URL and operator (`URL device NAME`; a URL contains no space).

    Args:
        directory: Created with mode 0700 when the first token is stored; one that others can read is refused.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = PrivateDirectory(directory, named_by="LYFTDATA_CONFIG_DIR", child="lyftdata")
        self._file = directory / _FILE

    @classmethod
    def default(cls) -> "Credentials":
        """
        Return the credentials of this user: in LYFTDATA_CONFIG_DIR, or in the user's configuration directory.

        Raises:
            SettingsError: There is no such directory, because the user has no home directory.
        """
        given = trim(os.environ.get("LYFTDATA_CONFIG_DIR", ""))
        try:
            return cls(parse_path(given) if given else default_config_dir())
        except InvalidInputError as error:
            raise SettingsError([f"LYFTDATA_CONFIG_DIR: {error.message}."]) from error

    def find(self, url: str) -> Secret | None:
        """
        Return the token for a Server, or None.

        Raises:
            SettingsError: Others can read or change the file or its directory.
            LyftdataError: It cannot be read.
        """
        token = self._read().get(url)
        return None if token is None else Secret(token)

    def store(self, url: str, token: Secret) -> None:
        """Store the token for a Server; raises like `find`."""
        self._change(lambda tokens: {**tokens, url: token.reveal()})

    def forget(self, url: str) -> None:
        """Remove the token for a Server; raises like `find`."""
        if url in self._read():
            self._change(lambda tokens: {name: token for name, token in tokens.items() if name != url})

    def find_device(self, url: str, operator: str) -> Secret | None:
        """Return the device mark of an operator at a Server, or None."""
        mark = self._read().get(_device(url, operator))
        return None if mark is None else Secret(mark)

    def store_device(self, url: str, operator: str, mark: Secret) -> None:
        """Store the device mark of an operator at a Server; it outlives the session. Raises like `find`."""
        self._change(lambda tokens: {**tokens, _device(url, operator): mark.reveal()})

    def _read(self) -> dict[str, str]:
        try:
            raw = self._directory.read(_FILE) if self._directory.exists() else None
            return {} if raw is None else msgspec.json.decode(raw, type=dict[str, str])
        except (OSError, msgspec.DecodeError) as error:
            raise LyftdataError(
                f"{self._file} cannot be read.", hint="Remove it and sign in again."
            ) from error

    def _change(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        try:
            self._directory.make()
            # Each sign-in writes all sessions: a concurrent one must not overwrite an entry that was just added.
            with self._directory.locked():
                self._directory.write(_FILE, msgspec.json.encode(change(self._read())))
        except OSError as error:
            raise LyftdataError(f"{self._file} cannot be written: {error.strerror}.") from error


def _device(url: str, operator: str) -> str:
    return f"{url} device {operator}"
