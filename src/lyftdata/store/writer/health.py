"""Whether the writer can commit: how long it has waited, and how many batches have failed in a row."""

import time
from collections.abc import Callable

# Longer than any wait for another Server's turn that ends well: a Server that hangs in its turn loses it after five seconds.
STUCK_AFTER_S = 10.0
MAX_FAILED_GROUPS = 2


class WriterHealth:
    """
    Written by the writer's thread, readable from any.

    A single batch may fail (its connection ended). Two in a row, or one that has waited long, mean that the database accepts no
    changes; the next committed batch clears that.

    Args:
        monotonic: Seconds on a monotonic clock.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since_s: float | None = None
        self._failed = 0
        self.problem: str | None = None
        """Why the last batch failed; None if it was committed."""

    def begin(self) -> None:
        """Record that a batch has begun."""
        self._since_s = self._monotonic()

    def succeed(self) -> None:
        """Record that the batch was committed."""
        self._since_s, self._failed, self.problem = None, 0, None

    def fail(self, problem: str) -> None:
        """Record that the batch was rolled back, with the database's error message."""
        self._failed = MAX_FAILED_GROUPS if self.is_stuck() else self._failed + 1
        self._since_s, self.problem = None, problem

    def waited_s(self) -> float:
        """Return how long the current batch has waited; 0 if there is none."""
        since_s = self._since_s
        return 0.0 if since_s is None else self._monotonic() - since_s

    def is_stuck(self) -> bool:
        """
        Return whether the current batch has waited too long.

        Also detects a database that accepts a request and never answers, which causes no error.
        """
        return self.waited_s() > STUCK_AFTER_S

    def is_writing(self) -> bool:
        """Return whether changes reach the database."""
        return self._failed < MAX_FAILED_GROUPS and not self.is_stuck()
