"""
How long to wait before asking again: exponential, with jitter, and never less than the Server asks for.

Jitter matters more than the curve: thousands of Workers lose the same Server in the same second.
"""

from collections.abc import Callable

MAX_S = 30.0
# A Server (or a proxy) may ask for patience, not for absence.
_MAX_RETRY_AFTER_S = 300.0


class Backoff:
    """
    Waits that grow from failure to failure.

    Args:
        random: Gives a number from 0 up to 1.
        first_s: Upper bound of the first wait, in seconds.
        longest_s: Upper bound of every wait that is not asked for.
    """

    def __init__(
        self, *, random: Callable[[], float], first_s: float = 1.0, longest_s: float = MAX_S
    ) -> None:
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    def next_s(self, *, retry_after_s: float | None = None) -> float:
        """Return the seconds to wait after one more failure; at least those that the Server asked for."""
        bound = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # Half of the bound at least: a wait of nothing would hammer, and the other half spreads the fleet.
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
