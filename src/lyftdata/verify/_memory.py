"""
Tokens that were checked already, until they end: the arithmetic is saved, never a question.

Remembered by digest, so that a dump of this memory holds no token that could be used. What must still hold (the key
is published, `exp` is ahead) is asked at every recall.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping

from lyftdata.core.token_size import MAX_TOKEN_LENGTH
from lyftdata.verify._keys import PublishedKey
from lyftdata.verify._rules import VerifiedToken
from lyftdata.verify.errors import TokenExpiredError, TokenMalformedError
from lyftdata.verify.identity import WorkerIdentity


class Remembered:
    """
    A checked token, and what the Server said of it last, online.

    `confirmed` is the Worker with what it may do at `confirmed_at_s`, on a clock that does not jump.
    """

    __slots__ = ("confirmed", "confirmed_at_s", "expires_at_s", "key", "kid", "worker")

    def __init__(self, verified: VerifiedToken) -> None:
        self.worker = verified.worker
        self.expires_at_s = verified.expires_at_s
        self.key = verified.key
        self.kid = verified.key.kid
        self.confirmed: WorkerIdentity | None = None
        self.confirmed_at_s = 0.0


def token_digest(unverified_token: object) -> bytes:
    """
    Return what a token is remembered by.

    Raises:
        TokenMalformedError: Not a string, longer than any token, or not ASCII.
    """
    if not isinstance(unverified_token, str):
        raise TokenMalformedError(f"It is of type {type(unverified_token).__name__}, not str.")
    if len(unverified_token) > MAX_TOKEN_LENGTH:
        # Asked before anything is computed: the work must not grow with what a stranger sends.
        raise TokenMalformedError(f"It is longer than {MAX_TOKEN_LENGTH} characters.")
    try:
        return hashlib.sha256(unverified_token.encode("ascii")).digest()
    except UnicodeEncodeError as error:
        raise TokenMalformedError("It is not ASCII.") from error


class Memory:
    """
    At most so many checked tokens; the one that was longest not asked for goes first. Safe to use from threads.

    Args:
        most: How many; about 1 KB each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, Remembered] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, digest: bytes, keys: Mapping[str, PublishedKey], now_s: float) -> Remembered | None:
        """
        Return a token that still holds, or None.

        Raises:
            TokenExpiredError: It has ended.
        """
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now_s < entry.expires_at_s and keys.get(entry.kid) is entry.key:
            try:  # noqa: SIM105 - that is ten times as fast as a context manager
                # Without the lock, which would take as long as all else here: each of the two steps is whole by itself.
                self._entries.move_to_end(digest)
            except KeyError:
                # Another thread has pushed it out in between. It was checked, and still holds.
                pass
            return entry
        self.forget(digest)
        if now_s >= entry.expires_at_s:
            raise TokenExpiredError
        return None

    def remember(self, digest: bytes, verified: VerifiedToken) -> Remembered:
        """Keep a token that was just checked."""
        entry = Remembered(verified)
        with self._lock:
            self._entries[digest] = entry
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        return entry

    def forget(self, digest: bytes) -> None:
        """Forget a token."""
        with self._lock:
            self._entries.pop(digest, None)

    def __len__(self) -> int:
        return len(self._entries)
