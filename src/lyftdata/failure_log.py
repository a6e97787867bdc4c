"""Logs a repeating failure when it begins, and once a minute while it lasts."""

import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from lyftdata.core.log_events import Level, LogEvent
from lyftdata.log import emit

AGAIN_AFTER_S = 60.0


class FailureLog:
    """
    One kind of failure that may repeat many times a second, such as a database that is down.

    Args:
        log: The logger.
        event: A registered event with the field `left_out`.
        monotonic: Returns seconds on a clock that is never set.
    """

    def __init__(
        self, log: FilteringBoundLogger, event: LogEvent, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._event = event
        self._monotonic = monotonic
        self._logged_at_s: float | None = None
        self._left_out = 0

    def failed(
        self, *, level: Level | None = None, exception: Exception | None = None, **fields: object
    ) -> None:
        """
        Log a failure if it is the first or a minute has passed; `left_out` counts those that were not logged in between.

        Args:
            level: As for `emit`.
            exception: An unexpected failure, logged with its traceback.
            fields: Fields of the event.
        """
        now_s = self._monotonic()
        if self._logged_at_s is not None and now_s - self._logged_at_s < AGAIN_AFTER_S:
            self._left_out += 1
            return
        if self._left_out:
            fields["left_out"] = self._left_out
        self._logged_at_s, self._left_out = now_s, 0
        emit(self._log, self._event, level=level, exc_info=exception or False, **fields)

    def succeeded(self) -> None:
        """Log the next failure at once, however soon it comes."""
        self._logged_at_s, self._left_out = None, 0
