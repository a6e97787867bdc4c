"""How long polls are held: longer with more Workers, which bounds the rate of polls."""

from collections.abc import Callable
from datetime import datetime, timedelta

# Held polls end before common proxies cut them (nginx: 60 s), unless the fleet is so large that the request
# rate at this Server would exceed the limit; proxies in front of such fleets must be configured for it. The limit is 200
# requests in any second: the rest is for tokens, and for seconds in which more polls end than in others.
_MIN_HOLD_S = 25.0
_MAX_HOLD_S = 240.0
_MAX_POLLS_PER_S = 150.0
# The agent retries after 30 seconds at most, or 45 if it has just begun a request.
_BACK_WITHIN = timedelta(minutes=2)


class HoldTime:
    """
    Computes how long a poll is held.

    Args:
        now: Aware UTC time.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._expected = 0
        self._expected_until = now()

    def seconds(self, connected: int) -> float:
        """Return the hold time in seconds for this number of connected Workers, or for the expected number if that is larger."""
        if connected < self._expected and self._now() < self._expected_until:
            connected = self._expected
        return min(_MAX_HOLD_S, max(_MIN_HOLD_S, connected / _MAX_POLLS_PER_S))

    def set_expected_count(self, count: int) -> None:
        """Expect this many Workers in the next minutes, unless more are expected already."""
        is_over = self._now() >= self._expected_until
        self._expected = count if is_over else max(count, self._expected)
        self._expected_until = self._now() + _BACK_WITHIN
