"""
Caches tokens that were checked, until they expire, to save the signature check.

Cached by digest, so that a memory dump holds no usable token. Two conditions are checked at every recall: that the key
is still published, and that `exp` is ahead. Audience and issuer cannot change: they are fixed for each verifier.
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
    A checked token, and the last answer of the online check.

    `confirmed` is the Worker with its scopes as of `confirmed_at_s`, seconds of a monotonic clock.
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
    Return the cache key of a token: its SHA-256.

    Raises:
        TokenMalformedError: Not a string, longer than any token, or not ASCII.
    """
    if not isinstance(unverified_token, str):
        raise TokenMalformedError(f"It is of type {type(unverified_token).__name__}, not str.")
    if len(unverified_token) > MAX_TOKEN_LENGTH:
        # Resource exhaustion: checked before hashing, so that the work does not grow with what an unproven sender sends.
        raise TokenMalformedError(f"It is longer than {MAX_TOKEN_LENGTH} characters.")
    try:
        return hashlib.sha256(unverified_token.encode("ascii")).digest()
    except UnicodeEncodeError as error:
        raise TokenMalformedError("It is not ASCII.") from error


class Memory:
    """
    A bounded cache of checked tokens, least recently used evicted first. Safe to use from threads.

    Args:
        max_entries: How many tokens; about 1 KB each.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, Remembered] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, digest: bytes, keys: Mapping[str, PublishedKey], now_s: float) -> Remembered | None:
        """
        Return a cached token that is still valid, or None.

        Raises:
            TokenExpiredError: It has expired.
        """
        entry = self._entries.get(digest)
        if entry is None:
            return None
        # Revocation: a cached token is only as good as its key. `is`, not `==`: another key under the same `kid` does not count,
        # so withdrawing or replacing a key ends its cached tokens with the next refresh.
        if now_s < entry.expires_at_s and keys.get(entry.kid) is entry.key:
            try:  # noqa: SIM105 - that is ten times as fast as a context manager
                # Without the lock, which would take as long as everything else here: each of the two steps is atomic.
                self._entries.move_to_end(digest)
            except KeyError:
                # Another thread evicted it in between. It was checked, and is still valid.
                pass
            return entry
        self.forget(digest)
        if now_s >= entry.expires_at_s:
            raise TokenExpiredError
        return None

    def remember(self, digest: bytes, verified: VerifiedToken) -> Remembered:
        """Cache a token that was just checked; refused tokens are never cached, so they cannot evict valid ones."""
        entry = Remembered(verified)
        with self._lock:
            self._entries[digest] = entry
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
        return entry

    def forget(self, digest: bytes) -> None:
        """Forget a token."""
        with self._lock:
            self._entries.pop(digest, None)

    def __len__(self) -> int:
        return len(self._entries)
