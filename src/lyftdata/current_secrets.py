"""
Rereads an API key or an enrollment key from its file when it is rotated while a program runs.

To rotate a key, write the file; nothing is restarted. A file that is briefly missing, empty or half written changes nothing: the
last value is used until there is a complete one.
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
    The current value of a secret of the Worker.

    Args:
        secret: The value read at the start.
        file: The file that it was read from; None if it came from a variable, which cannot change.
        is_whole: Returns whether a secret has the complete form. A file that is being written may hold only a part.
    """

    def __init__(self, secret: Secret, file: Path | None, *, is_whole: Callable[[Secret], bool]) -> None:
        self._secret = secret
        self._file = None if file is None else file.absolute()
        self._is_whole = is_whole

    def read(self) -> Secret:
        """Return the secret to use for a request now."""
        self._secret = self._newest()
        return self._secret

    def version(self) -> str:
        """Return a value that changes with the secret and does not reveal it."""
        return _version(self.read())

    def _newest(self) -> Secret:
        if self._file is None:
            return self._secret
        try:
            with self._file.open("rb") as stream:
                found = parse_secret(stream.read(_MAX_FILE_BYTES).decode())
        except (OSError, UnicodeDecodeError, InvalidInputError):
            return self._secret
        # If the first value had another form, the form says nothing.
        is_cut = self._is_whole(self._secret) and not self._is_whole(found)
        return self._secret if is_cut else found


class CurrentApiKey(CurrentSecret):
    """The current value of a Worker's API key; arguments as for `CurrentSecret`."""

    def __init__(self, key: Secret, file: Path | None = None) -> None:
        super().__init__(key, file, is_whole=lambda found: find_malformation(found) is None)


class CurrentEnrollmentKey(CurrentSecret):
    """The current value of the enrollment key; arguments as for `CurrentSecret`."""

    def __init__(self, key: Secret, file: Path | None = None) -> None:
        super().__init__(key, file, is_whole=_is_whole_enrollment_key)
        self._derived: tuple[str, ProofKey] | None = None

    def proof_key(self, audience: str) -> ProofKey:
        """
        Return the key for proofs to one Server, derived from the current secret.

        Slow for a chosen secret, so call it in a thread. The result is cached for retries.
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
