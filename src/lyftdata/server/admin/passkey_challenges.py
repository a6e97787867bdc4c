"""
Challenges for passkeys: what a browser's authenticator signs, once, within five minutes, for one purpose.

A challenge consists of 16 random bytes, its expiry and a MAC over both and over its purpose: a session, or a sign-in whose password
was right. Nothing is stored when one is issued, so that viewing a page writes nothing, and any Server can check a challenge of
another. Its use is recorded in the database that all Servers share, so that it counts only once.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import msgspec

from lyftdata.server.clock import Clock, RandomBytes

CHALLENGE_LIFE = timedelta(minutes=5)
_NONCE_BYTES = 16
_TIME_BYTES = 8
_PLAIN_BYTES = _NONCE_BYTES + _TIME_BYTES


class Challenge(msgspec.Struct, frozen=True):
    """A challenge that a Server issued for this purpose; `digest` identifies it when it is marked as used."""

    digest: bytes
    expires_at: datetime


class ChallengeError(Exception):
    """No Server issued the challenge for this purpose, or it was too long ago."""


class PasskeyChallenges:
    """
    Issues challenges, and recognizes them.

    Args:
        key: 32 bytes for this purpose alone, the same at every Server of a deployment.
        clock: Aware UTC time.
        random_bytes: Makes each challenge different.
    """

    def __init__(self, *, key: bytes, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes

    def issue(self, bound_to: str) -> bytes:
        """Return a new challenge that is only valid for `bound_to`."""
        until_s = int((self._clock() + CHALLENGE_LIFE).timestamp())
        plain = self._random_bytes(_NONCE_BYTES) + until_s.to_bytes(_TIME_BYTES)
        return plain + self._code(plain, bound_to)

    def open(self, unverified: bytes, bound_to: str) -> Challenge:
        """
        Return the verified challenge.

        Replay: the caller must mark its digest as used, in the transaction that accepts what was signed.

        Raises:
            ChallengeError: Not issued by a Server for `bound_to`, or more than five minutes ago.
        """
        plain, code = unverified[:_PLAIN_BYTES], unverified[_PLAIN_BYTES:]
        if not hmac.compare_digest(code, self._code(plain, bound_to)):
            raise ChallengeError
        until_s = int.from_bytes(plain[_NONCE_BYTES:])
        if self._clock().timestamp() >= until_s:
            raise ChallengeError
        digest = hashlib.sha256(b"passkey challenge\0" + plain).digest()
        return Challenge(digest, datetime.fromtimestamp(until_s, tz=UTC))

    def _code(self, plain: bytes, bound_to: str) -> bytes:
        return hmac.digest(self._key, plain + b"\0" + bound_to.encode(), "sha256")
