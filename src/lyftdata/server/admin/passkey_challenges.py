"""
Challenges of passkeys: what a browser has its authenticator sign, once, within five minutes, for one purpose.

A challenge holds 16 random bytes, its end and a code of the Servers over both and over what it belongs to: a session, or a sign-in
whose password was right. Nothing is stored when one is made, so that pages which are only looked at write nothing, and any Server can
check what another has made. What is stored is that it was used: in the database that all Servers share, so it counts once.
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
    """A challenge that one of the Servers has made for this; `digest` names it where it is used up."""

    digest: bytes
    expires_at: datetime


class ChallengeError(Exception):
    """No Server has made the challenge, or not for this, or too long ago."""


class PasskeyChallenges:
    """
    Makes challenges, and recognises them.

    Args:
        key: 32 bytes for this purpose alone, the same at every Server of a deployment.
        clock: Aware UTC time.
        random_bytes: Makes each different.
    """

    def __init__(self, *, key: bytes, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes

    def issue(self, bound_to: str) -> bytes:
        """Return a new challenge that counts for `bound_to` alone."""
        until_s = int((self._clock() + CHALLENGE_LIFE).timestamp())
        plain = self._random_bytes(_NONCE_BYTES) + until_s.to_bytes(_TIME_BYTES)
        return plain + self._code(plain, bound_to)

    def open(self, unverified: bytes, bound_to: str) -> Challenge:
        """
        Return the challenge.

        Replay: the caller must use its digest up, in the transaction that accepts what it was signed for.

        Raises:
            ChallengeError: Not made by a Server for `bound_to`, or more than five minutes ago.
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
