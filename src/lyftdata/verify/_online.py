"""The online check: when the Server is asked, and what happens when it does not answer."""

import logging

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.verify._memory import Remembered
from lyftdata.verify.errors import OnlineCheckUnavailableError

_log = logging.getLogger("lyftdata.verify")

_LONGEST_CACHE_S = 60.0
# Failing open, a Server that hangs would otherwise cost every request its whole time.
_OPEN_FOR_S = 2.0


class OnlinePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the Server is asked about every token.

    Attributes:
        cache_s: For how many seconds its yes is believed again without asking; at most 60.
        fail_open: Whether, when it cannot be asked, the offline check alone decides. A Worker that was disabled then
            gets in until its token ends; otherwise every Worker is refused (503) until the Server answers.
    """

    cache_s: float = 0.0
    fail_open: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.cache_s <= _LONGEST_CACHE_S:
            raise InvalidInputError("online_cache_s", f"online_cache_s must be 0 to {_LONGEST_CACHE_S:g}.")


class OnlineState:
    """What the last questions came to; times on a clock that does not jump."""

    def __init__(self, policy: OnlinePolicy) -> None:
        self._policy = policy
        self._open_until_s: float | None = None

    def must_ask(self, entry: Remembered, now_s: float) -> bool:
        """Return whether the Server is to be asked about this token now."""
        if self._open_until_s is not None and now_s < self._open_until_s:
            return False
        return entry.confirmed_at_s is None or now_s >= entry.confirmed_at_s + self._policy.cache_s

    def confirmed(self, entry: Remembered, asked_at_s: float) -> None:
        """Note that the Server takes the token."""
        self._open_until_s = None
        entry.confirmed_at_s = asked_at_s

    def not_answered(self, error: OnlineCheckUnavailableError, now_s: float) -> None:
        """
        Decide what holds when the Server cannot be asked.

        Raises:
            OnlineCheckUnavailableError: Unless the policy is to fail open.
        """
        if not self._policy.fail_open:
            raise error
        _log.warning("worker tokens are checked offline only: %s", error.message)
        self._open_until_s = now_s + _OPEN_FOR_S
