"""Where the command line keeps sessions and device marks: one file of mode 0600."""

import contextlib
import os
from pathlib import Path

import msgspec
import platformdirs

from lyftdata.core.errors import LyftdataError
from lyftdata.core.secret import Secret


class Credentials:
    """
    Session tokens by Server URL, and device marks by URL and operator (`URL device NAME`; a URL holds no space).

    Args:
        directory: Made with mode 0700 when the first token is stored.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / "credentials.json"

    @classmethod
    def default(cls) -> "Credentials":
        """Return those of this user: LYFTDATA_CONFIG_DIR, or the user's configuration directory."""
        given = os.environ.get("LYFTDATA_CONFIG_DIR")
        return cls(
            Path(given).expanduser()
            if given
            else Path(platformdirs.user_config_dir("lyftdata", appauthor=False))
        )

    def find(self, url: str) -> Secret | None:
        """Return the token for a Server, or None."""
        token = self._read().get(url)
        return None if token is None else Secret(token)

    def store(self, url: str, token: Secret) -> None:
        """Keep the token for a Server."""
        self._write({**self._read(), url: token.reveal()})

    def forget(self, url: str) -> None:
        """Drop the token for a Server."""
        tokens = self._read()
        if tokens.pop(url, None) is not None:
            self._write(tokens)

    def find_device(self, url: str, operator: str) -> Secret | None:
        """Return the device mark of an operator at a Server, or None."""
        mark = self._read().get(_device(url, operator))
        return None if mark is None else Secret(mark)

    def store_device(self, url: str, operator: str, mark: Secret) -> None:
        """Keep the device mark of an operator at a Server; it outlives the session."""
        self._write({**self._read(), _device(url, operator): mark.reveal()})

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise LyftdataError(
                f"{self._file} cannot be read.", hint="Remove it and sign in again."
            ) from error

    def _write(self, tokens: dict[str, str]) -> None:
        """Write beside and rename, so that a crash leaves the old file or the new one, and nobody else reads either."""
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(msgspec.json.encode(tokens))
            draft.replace(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise LyftdataError(f"{self._file} cannot be written: {error.strerror}.") from error


def _device(url: str, operator: str) -> str:
    return f"{url} device {operator}"
