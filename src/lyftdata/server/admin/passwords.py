"""
Hashes and checks operators' passwords with Argon2id (RFC 9106), in threads, a few at a time.

Only people's passwords are hashed slowly. API keys have more than 128 random bits, so guessing is hopeless and slowing it
down unnecessary (see docs/decisions/0003-api-keys-are-hashed-fast.md).
"""

import asyncio
import base64
import contextlib
import unicodedata
from collections.abc import AsyncIterator

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from lyftdata.core.errors import InvalidInputError, TooBusyError
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import trim
from lyftdata.server.admin.secret_strength import MIN_PASSWORD_GUESSES, check_password

MIN_PASSWORD_LENGTH = 12
_MAX_PASSWORD_LENGTH = 1024
# Maximum length of what differs between two passwords, apart from a common prefix and suffix: a changed digit, an exclamation mark.
_MUST_DIFFER_BY = 3
# Each hash uses 64 MiB while it runs; a flood of sign-ins queues here instead of exhausting the memory.
_MAX_AT_ONCE = 2
_MAX_WAITING = 20
# Operators in a network from which they have signed in before do not queue behind unknown callers.
_MAX_KNOWN_AT_ONCE = 1
_MAX_KNOWN_WAITING = 10


class _Queue:
    """A bounded queue: a few hash at once, some more wait, further callers get TooBusyError."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._gate = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._inside = 0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        if self._inside >= self._most:
            raise TooBusyError("Too many sign-ins at once. Try again in a few seconds.")
        self._inside += 1
        try:
            async with self._gate:
                yield
        finally:
            self._inside -= 1


class Passwords:
    """Hashes and checks passwords without blocking the event loop."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._unknown_queue = _Queue(at_once=_MAX_AT_ONCE, waiting=_MAX_WAITING)
        self._known_queue = _Queue(at_once=_MAX_KNOWN_AT_ONCE, waiting=_MAX_KNOWN_WAITING)
        # Checked if no operator has the given name: the response time must not reveal which names exist.
        self._decoy_hash = _decoy_hash(self._hasher)

    async def hash(self, password: Secret) -> str:
        """Return the Argon2id hash (PHC string) of a new password; only for signed-in operators."""
        async with self._known_queue.turn():
            return await asyncio.to_thread(self._hasher.hash, password.reveal())

    async def matches(self, password: Secret, password_hash: str | None, *, is_known: bool = False) -> bool:
        """
        Return whether the password matches the hash; None takes the same time and never matches.

        Args:
            password: As sent.
            password_hash: PHC string, or None if no operator has the name.
            is_known: Whether this operator has signed in from this network before: then a flood of sign-ins from other
                networks does not delay them.

        Raises:
            TooBusyError: Too many sign-ins are already being checked.
        """
        async with (self._known_queue if is_known else self._unknown_queue).turn():
            right = await asyncio.to_thread(self._verify, password, password_hash or self._decoy_hash)
        return right and password_hash is not None

    def _verify(self, password: Secret, password_hash: str) -> bool:
        # A password pasted with white space or a byte order mark around it is accepted (core.secret_text). One that was set
        # before that rule may contain them, so it is first tried as sent.
        given = password.reveal()
        return any(self._matches_hash(text, password_hash) for text in dict.fromkeys((given, trim(given))))

    def _matches_hash(self, text: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, text)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False


def _decoy_hash(hasher: PasswordHasher) -> str:
    """
    Return a hash that takes as long to check as any made by `hasher`, and that no password matches.

    Created without hashing, which would add a quarter of a second to each start: a check computes a full Argon2 hash with these
    parameters and this salt, and compares the result with zeros.
    """
    salt, digest = (
        base64.b64encode(bytes(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2{hasher.type.name.lower()}$v={ARGON2_VERSION}${costs}${salt}${digest}"


def check_new_password(password: Secret, *, operator: str) -> None:
    """
    Reject a password that is too short, too long, the operator's own name or easy to guess.

    Takes tens of milliseconds: call it in a thread, not in the event loop.

    Raises:
        InvalidInputError: Names the violated rule.
    """
    if trim(password.reveal()) != password.reveal():
        # Stripped where a password is read (core.secret_text): its owner could not sign in with it.
        raise InvalidInputError("password", "must not begin or end with white space")
    if not MIN_PASSWORD_LENGTH <= len(password) <= _MAX_PASSWORD_LENGTH:
        raise InvalidInputError(
            "password", f"must have {MIN_PASSWORD_LENGTH} to {_MAX_PASSWORD_LENGTH} characters"
        )
    if not password.reveal().isprintable():
        # Lone surrogates cannot be hashed, and characters that cannot be typed lock the owner out.
        raise InvalidInputError("password", "must have printable characters only")
    if operator.lower() in password.reveal().lower() and len(password) < len(operator) + MIN_PASSWORD_LENGTH:
        raise InvalidInputError("password", "must not be made of the operator's name")
    check_password(password, min_guesses=MIN_PASSWORD_GUESSES, known=[operator])


def check_replaces(new: Secret, current: Secret) -> None:
    """
    Reject a password that equals the current one or is very similar: anyone who knew the old one tries these first.

    Args:
        new: The new one.
        current: The current one, as sent; the caller checks that it is right.

    Raises:
        InvalidInputError: They differ only by white space, by case, or by one or two characters in one place.
    """
    one, other = (_folded(password) for password in (new, current))
    begin = _common(one, other)
    end = _common(one[begin:][::-1], other[begin:][::-1])
    if max(len(one), len(other)) - begin - end < _MUST_DIFFER_BY:
        raise InvalidInputError(
            "password", "must not be the one it replaces, nor differ from it by a character or two"
        )


def _folded(password: Secret) -> str:
    return "".join(unicodedata.normalize("NFKC", password.reveal()).casefold().split())


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
