"""Decides whether a COMMAND that ended by itself is restarted, and after how long."""

from collections.abc import Callable

from lyftdata.core.backoff import Backoff

NEVER = "never"
ON_FAILURE = "on-failure"
ALWAYS = "always"
POLICIES = (NEVER, ON_FAILURE, ALWAYS)

MAX_DELAY_S = 60.0
HEALTHY_S = 60.0
"""A run that lasted this long was not a crash loop: the delays start over."""


class RestartPolicy:
    """
    Delays that grow from one short run to the next.

    Args:
        policy: One of `POLICIES`.
        chance: Returns a random number from 0 to below 1.
    """

    def __init__(self, policy: str, *, chance: Callable[[], float]) -> None:
        self._policy = policy
        self._backoff = Backoff(random=chance, max_s=MAX_DELAY_S)

    def delay_s(self, *, exit_code: int, ran_s: float) -> float | None:
        """Return the seconds until the next run, or None for no restart."""
        if self._policy == NEVER or (self._policy == ON_FAILURE and exit_code == 0):
            return None
        if ran_s >= HEALTHY_S:
            self._backoff.reset()
        return self._backoff.next_s()
