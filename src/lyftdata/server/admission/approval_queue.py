"""
Workers that wait for approval: limits on their number, and their token requests, which are held until an operator decides.

Flood: anyone with a key of mode `approve` can add waiting Workers. Beyond the limit, new ones are refused and waiting ones
stay: evicting the oldest would let a flood remove the one that an operator is about to approve. Each key gets half of the limit,
so that a leaked key cannot keep out the Workers of other keys.
"""

import asyncio
from collections.abc import Mapping

from lyftdata.core.records import Approval
from lyftdata.core.refusals import ApprovalQueueFullError
from lyftdata.server.admission.directory import Directory

MAX_PENDING = 1_000
MAX_PENDING_OF_A_KEY = 500
MAX_HOLD_S = 30.0


def check_room(pending: Mapping[str, int], *, fingerprint: str, claimed_worker: str) -> None:
    """
    Check that one more Worker may wait for approval.

    Args:
        pending: How many wait now, by the fingerprint of the enrollment key with which they enrolled.
        fingerprint: Of the key with which this one enrolls.
        claimed_worker: The name that it requests.

    Raises:
        ApprovalQueueFullError: Too many are waiting.
    """
    total, of_the_key = sum(pending.values()), pending.get(fingerprint, 0)
    if total >= MAX_PENDING or of_the_key >= MAX_PENDING_OF_A_KEY:
        raise ApprovalQueueFullError(
            f"{total:,} Workers wait for approval ({MAX_PENDING:,} at most), {of_the_key:,} of them by the enrollment key "
            f"{fingerprint} ({MAX_PENDING_OF_A_KEY:,} at most).",
            claimed_worker=claimed_worker,
        )


class HeldRequests:
    """Token requests of Workers that wait for approval, held until their entry changes; one per Worker."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._held: dict[str, asyncio.Future[bool]] = {}
        self._is_closed = False

    def __len__(self) -> int:
        """Return how many requests are held."""
        return len(self._held)

    async def hold(self, worker_id: str, *, within_s: float) -> bool:
        """
        Wait until the Worker's entry changes; return whether it has, so that the Worker should retry at once.

        A second request of the same Worker ends the wait of the first.

        Args:
            worker_id: The Worker, whose key was proved.
            within_s: Seconds, limited to `MAX_HOLD_S`.
        """
        worker = self._directory.find_worker(worker_id)
        if worker is None or worker.approval is not Approval.PENDING:
            return True
        self._release(worker_id, decided=False)
        if self._is_closed:
            return False
        held: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._held[worker_id] = held
        try:
            async with asyncio.timeout(min(within_s, MAX_HOLD_S)):
                return await held
        except TimeoutError:
            return False
        finally:
            if self._held.get(worker_id) is held:
                del self._held[worker_id]

    def note_change(self, worker_id: str) -> None:
        """Release the request of a Worker whose entry has changed, unless it is still pending."""
        if worker_id in self._held:
            worker = self._directory.find_worker(worker_id)
            if worker is None or worker.approval is not Approval.PENDING:
                self._release(worker_id, decided=True)

    def close(self) -> None:
        """Release every request, and hold none from now on: the Server is stopping."""
        self._is_closed = True
        for worker_id in list(self._held):
            self._release(worker_id, decided=False)

    def _release(self, worker_id: str, *, decided: bool) -> None:
        held = self._held.pop(worker_id, None)
        if held is not None and not held.done():
            held.set_result(decided)
