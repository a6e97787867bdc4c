"""
Reads an API key or an enrollment key from its file again when it is rotated while a program runs.

To rotate one, write the file; nothing is restarted. A file that is missing, empty or half written for a moment changes
nothing: what was read last is used until there is something whole to read.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from lyftdata.core.api_keys import find_malformation
from lyftdata.core.enrollment_secrets import (
    MIN_ENROLLMENT_KEY_LENGTH,
    ProofKey,
    derive_proof_key,
    find_flaw,
)
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret

_MAX_FILE_BYTES = 65_536


class CurrentSecret:
    """
    A secret of the Worker, as it stands now.

    Args:
        secret: As it was read at the start.
        file: The file that it was read from; None if it came by a variable, which cannot change.
        is_whole: Whether a secret has the form of one. While a file is being written it may hold only a part.
    """

    def __init__(self, secret: Secret, file: Path | None, *, is_whole: Callable[[Secret], bool]) -> None:
        self._secret = secret
        self._file = None if file is None else file.absolute()
        self._is_whole = is_whole

    def read(self) -> Secret:
        """Return the secret for a request that is made now."""
        self._secret = self._newest()
        return self._secret

    def version(self) -> str:
        """Return what tells this secret from another, and does not give it away."""
        return _version(self.read())

    def _newest(self) -> Secret:
        if self._file is None:
            return self._secret
        try:
            with self._file.open("rb") as stream:
                found = parse_secret(stream.read(_MAX_FILE_BYTES).decode())
        except (OSError, UnicodeDecodeError, InvalidInputError):
            return self._secret
        # Where the first one had another form, form says nothing.
        is_cut = self._is_whole(self._secret) and not self._is_whole(found)
        return self._secret if is_cut else found


class CurrentApiKey(CurrentSecret):
    """A Worker's API key, as it stands now; arguments as `CurrentSecret`."""

    def __init__(self, key: Secret, file: Path | None = None) -> None:
        super().__init__(key, file, is_whole=lambda found: find_malformation(found) is None)


class CurrentEnrollmentKey(CurrentSecret):
    """The enrollment key, as it stands now; arguments as `CurrentSecret`."""

    def __init__(self, key: Secret, file: Path | None = None) -> None:
        super().__init__(key, file, is_whole=_is_whole_enrollment_key)
        self._derived: tuple[str, ProofKey] | None = None

    def proof_key(self, audience: str) -> ProofKey:
        """
        Return what the secret, as it stands now, signs proofs with at one Server.

        Slow for a chosen secret, so call it in a thread. Asked again, as by a Worker that retries, it answers at once.
        """
        secret = self.read()
        version = _version(secret)
        derived = self._derived
        if derived is None or derived[0] != version or derived[1].audience != audience:
            derived = self._derived = (version, derive_proof_key(secret, audience=audience))
        return derived[1]


def _is_whole_enrollment_key(secret: Secret) -> bool:
    return find_flaw(secret) is None and len(secret) >= MIN_ENROLLMENT_KEY_LENGTH


def _version(secret: Secret) -> str:
    return hashlib.sha256(secret.reveal().encode()).hexdigest()
