"""Tracks which Workers may still be reconnecting after a start of this Server."""

from datetime import timedelta

from lyftdata.server.clock import Clock

# The agent retries after 30 seconds at most, or 45 if it has just begun a request.
_RECONNECT_WITHIN = timedelta(minutes=2)


class ReturningWorkers:
    """
    Decides, for the first minutes after a start, which Workers may reconnect by themselves.

    The name of a Worker that may reconnect is not given to another host; see `Enrollment`.

    Args:
        clock: Aware UTC time; the Server starts now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock() + _RECONNECT_WITHIN
        self._accounted_for: set[str] = set()

    def may_return(self, worker_id: str) -> bool:
        """Return whether a Worker that is not connected may have been connected before the start."""
        return self._clock() < self._until and worker_id not in self._accounted_for

    def mark_accounted_for(self, worker_id: str) -> None:
        """Record that a Worker has gone offline since the start, or is new: it is not returning."""
        if self._clock() < self._until:
            self._accounted_for.add(worker_id)
