"""Which Workers may still be on their way back after a start of this Server."""

from datetime import timedelta

from lyftdata.server.clock import Clock

# The agent asks again after 30 seconds at most, and after 45 if it has just begun a request.
_WORKERS_ARE_BACK_WITHIN = timedelta(minutes=2)


class ReturningWorkers:
    """
    Tells apart, for the first minutes after a start, Workers that may come back by themselves and those that will not.

    A name whose holder may come back is not given to another host.

    Args:
        clock: Aware UTC time; the Server starts now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock() + _WORKERS_ARE_BACK_WITHIN
        self._accounted_for: set[str] = set()

    def may_return(self, worker_id: str) -> bool:
        """Return whether a Worker that is not connected may be one that was connected before the start."""
        return self._clock() < self._until and worker_id not in self._accounted_for

    def note_accounted_for(self, worker_id: str) -> None:
        """Note that a Worker has gone offline since the start, or is new."""
        if self._clock() < self._until:
            self._accounted_for.add(worker_id)
