"""
Takes a Server out of service without errors: what happens between the signal to stop and the end of listening.

     1 draining   /readyz fails, and each response closes its connection; everything is still served, for as long as load balancers
                 need to notice (LYFTDATA_SHUTDOWN_DELAY)
     2 moving     held polls are answered, and their Workers poll again, at other Servers
     3 finishing  pending responses are finished; then the Server stops listening

This only happens if another Server is alive. Otherwise the Workers have nowhere to go, and a delay would only prolong a restart. The database
is asked when the drain begins: in a rolling restart the peer may have started a moment ago.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from datetime import timedelta

from lyftdata.core.log_events.server import DRAINED, DRAINING
from lyftdata.log import emit, get_logger
from lyftdata.server.cluster.membership import Cluster
from lyftdata.server.sessions.registry import Sessions

_log = get_logger(__name__)

# A connected Worker polls again within a second and a half. The rest is for those that wait for a busy Server.
MOVE_WITHIN_S = 10.0
FINISH_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.05


def drained_within_s(delay: timedelta) -> float:
    """Return the seconds after which a drain is over in any case."""
    return delay.total_seconds() + MOVE_WITHIN_S + FINISH_WITHIN_S


class Drain:
    """
    Takes the Server out of service, once.

    Args:
        sessions: The Workers connected here.
        cluster: Knows whether there is another Server.
        delay: How long service continues after /readyz has begun to fail.
    """

    def __init__(self, *, sessions: Sessions, cluster: Cluster, delay: timedelta) -> None:
        self._sessions = sessions
        self._cluster = cluster
        self._delay = delay
        self._hurried = asyncio.Event()
        self.has_begun = False
        """Whether the Server is about to stop, so that load balancers must send nothing more to it."""

    @property
    def takes_at_most_s(self) -> float:
        """Return the seconds after which it is over in any case."""
        return drained_within_s(self._delay)

    async def run(
        self,
        *,
        open_requests: Callable[[], int],
        end_streams: Callable[[], None],
        leaving_too: Collection[str] = (),
    ) -> None:
        """
        Drain the Server; returns at once if there is no other.

        Args:
            leaving_too: IDs of Servers that stop at the same time, to which no Worker can go.
            open_requests: Returns how many requests are being answered.
            end_streams: Ends answers that would go on for as long as the Server runs.
        """
        self.has_begun = True
        if not await self._cluster.has_live_peers(besides=leaving_too):
            return
        connected = self._sessions.count_here()
        emit(_log, DRAINING, workers=connected, delay_s=self._delay.total_seconds())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), self._delay.total_seconds())
        self._sessions.move_to_peers()
        end_streams()
        await _wait_until(lambda: not self._sessions.count_here(), within_s=MOVE_WITHIN_S)
        await _wait_until(lambda: not open_requests(), within_s=FINISH_WITHIN_S)
        emit(_log, DRAINED, left=self._sessions.count_here(), unfinished=open_requests())

    def hurry(self) -> None:
        """Stop waiting for load balancers."""
        self._hurried.set()


async def _wait_until(is_true: Callable[[], bool], *, within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not is_true():  # noqa: ASYNC110 - requests are counted by uvicorn, which has no event for their end
                await asyncio.sleep(_LOOK_EVERY_S)
