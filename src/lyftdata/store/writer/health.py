"""Whether the writer can commit: how long it has waited, and how many batches have failed in a row."""

import time
from collections.abc import Callable

# Longer than the longest wait for another Server's turn that ends well: one that hangs in it loses it after five seconds.
STUCK_AFTER_S = 10.0
MAX_FAILED_GROUPS = 2


class WriterHealth:
    """
    Kept by the writer's thread, read by any.

    One group may fail by itself (a connection that has ended). Two in a row, or one that has waited for long, mean that the
    database takes no changes; the next group that is committed ends that.

    Args:
        monotonic: Seconds on a monotonic clock.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since_s: float | None = None
        self._failed = 0
        self.problem: str | None = None
        """What the last group failed for; None if it was committed."""

    def begin(self) -> None:
        """Note that a group is begun."""
        self._since_s = self._monotonic()

    def succeed(self) -> None:
        """Note that the group was committed."""
        self._since_s, self._failed, self.problem = None, 0, None

    def fail(self, problem: str) -> None:
        """Note that nothing of the group could be kept, for what the database says."""
        self._failed = MAX_FAILED_GROUPS if self.is_stuck() else self._failed + 1
        self._since_s, self.problem = None, problem

    def waited_s(self) -> float:
        """Return for how long the group under way has waited; 0 if there is none."""
        since_s = self._since_s
        return 0.0 if since_s is None else self._monotonic() - since_s

    def is_stuck(self) -> bool:
        """
        Return whether the group under way has waited for longer than it should.

        Also at a database that takes what it is sent and never answers, of which no error tells.
        """
        return self.waited_s() > STUCK_AFTER_S

    def is_writing(self) -> bool:
        """Return whether changes get into the database."""
        return self._failed < MAX_FAILED_GROUPS and not self.is_stuck()
