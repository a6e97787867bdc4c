"""
How long to wait before a retry: exponential backoff with jitter, and never less than the Server asks for.

Thundering herd: thousands of Workers lose the same Server in the same second, so jitter matters more than the curve.
"""

from collections.abc import Callable

MAX_S = 30.0
# Denial of service: a proxy that answers instead of the Server must not be able to silence a Worker for days.
_MAX_RETRY_AFTER_S = 300.0


class Backoff:
    """
    Waiting times that grow with each failure.

    Args:
        random: Returns a number from 0 to below 1.
        first_s: Upper bound of the first wait, in seconds.
        max_s: Upper bound of every wait that the Server did not ask for, in seconds.
        failures: How many there were before.
    """

    def __init__(
        self,
        *,
        random: Callable[[], float],
        first_s: float = 1.0,
        max_s: float = MAX_S,
        failures: int = 0,
    ) -> None:
        self._random = random
        self._first_s = first_s
        self._max_s = max_s
        self._failures = failures

    def next_s(self, *, retry_after_s: float | None = None) -> float:
        """Return how many seconds to wait after one more failure; at least as long as the Server asked for."""
        bound = min(self._max_s, self._first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # At least half of the bound, so that no retry is immediate; the other half is random, so that Workers spread out.
        wait = bound * (0.5 + 0.5 * self._random())
        if retry_after_s is None:
            return wait
        return max(0.0, min(retry_after_s, _MAX_RETRY_AFTER_S)) + wait * self._random()

    @property
    def failures(self) -> int:
        """Return how many failures there were since the last success."""
        return self._failures

    def reset(self) -> None:
        """Start again from the shortest wait."""
        self._failures = 0
