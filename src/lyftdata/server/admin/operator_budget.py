"""
Limits the work that each operator can cause: one budget for pages, API, exports and event streams.

Workers are answered by the same event loop. Costs are roughly milliseconds of it: the minimum for a request is
charged where its operator is identified (`OperatorSessions.identify`), so that no route can bypass it, and the cost of its response
is charged once its size is known. An operator in debt gets 429 with `Retry-After`.
"""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from lyftdata.core.errors import TooManyRequestsError

# A quarter of the event loop, and at most eight seconds of that in a row: some 150 pages.
_EARNED_PER_S = 250.0
_MAX_SAVED = 2_000.0
_MAX_SESSIONS = 10_000

REQUEST_COST = 2.0
PAGE_COST = 10.0
COST_PER_KIB = 0.08
# Checking the audit log takes a thread, which shares Python's lock with the event loop.
_COST_PER_CHECKED_EVENT = 0.02
_MAX_CHECK_COST = 500.0
# An entry, its events and a key are created in the writer's thread, and applied by the event loop.
_COST_PER_ADDED = 1.0
_CREDENTIAL = re.compile(rb"lyftdata_(?:session|token)_[0-9A-Za-z_-]{1,128}")


class OperatorBudget:
    """
    A budget per operator, in memory.

    Args:
        earned_per_s: What an operator earns each second.
        most_saved: The maximum that an operator can save, and the initial amount.
        monotonic: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        *,
        earned_per_s: float = _EARNED_PER_S,
        most_saved: float = _MAX_SAVED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._earned_per_s = earned_per_s
        self._most_saved = most_saved
        self._monotonic = monotonic
        self._saved: dict[str, tuple[float, float]] = {}
        self._operators: OrderedDict[bytes, str] = OrderedDict()

    def take(self, operator: str, cost: float) -> None:
        """
        Charge a request's cost to the operator; raises TooManyRequestsError if they are in debt.

        A request may cost more than is left; the next one must then wait until the debt is paid off.
        """
        wait_s = self.wait_s(operator)
        if wait_s:
            raise TooManyRequestsError(wait_s)
        self.charge(operator, cost)

    def charge(self, operator: str, cost: float) -> None:
        """Charge the cost of a response, even beyond what is left."""
        self._saved[operator] = (self._left(operator) - cost, self._monotonic())

    def charge_check(self, operator: str, events: int) -> None:
        """Charge the cost of checking or replaying `events` events of the audit log."""
        self.charge(operator, min(_MAX_CHECK_COST, events * _COST_PER_CHECKED_EVENT))

    def charge_added(self, operator: str, workers: int) -> None:
        """Charge the cost of adding this many Workers in one request."""
        self.charge(operator, workers * _COST_PER_ADDED)

    def wait_s(self, operator: str) -> float:
        """Return how many seconds an operator will be in debt; 0 if they are not."""
        return max(0.0, -self._left(operator) / self._earned_per_s)

    def free_in_s(self, operator: str) -> float:
        """Return the seconds until an operator's budget is at least half full: deferrable work waits until then."""
        return max(0.0, (self._most_saved / 2 - self._left(operator)) / self._earned_per_s)

    def _left(self, operator: str) -> float:
        saved, at_s = self._saved.get(operator, (self._most_saved, self._monotonic()))
        return min(self._most_saved, saved + (self._monotonic() - at_s) * self._earned_per_s)

    def remember_session(self, digest: bytes, operator: str) -> None:
        """Remember the operator of a session or API token, so that the budget of the next request is known before the database is read."""
        self._operators[digest] = operator
        self._operators.move_to_end(digest)
        if len(self._operators) > _MAX_SESSIONS:
            self._operators.popitem(last=False)

    def operator_of(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """
        Return the operator whose session or API token a request carries, if it was identified before.

        This only decides how long the request waits: whether the session is still open is not checked here. Every
        token in the request is looked up (its head is bounded): a client must not hide its own behind others.
        """
        for name, value in headers:
            if name in {b"authorization", b"cookie"}:
                for token in _CREDENTIAL.findall(value):
                    operator = self._operators.get(session_digest(token))
                    if operator is not None:
                        return operator
        return None


def session_digest(token: bytes) -> bytes:
    """Return the SHA-256 digest under which a session's token is stored."""
    return hashlib.sha256(token).digest()
