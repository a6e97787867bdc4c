"""
Rejects assertions and proofs of possession that were used before (RFC 7523, section 3, point 7; RFC 9449, section 11.1).

Only validly signed ones get here, so a caller without a Worker's credential cannot fill this memory; a Worker that signs
without end fills only its own share.

With several Servers the database has what was used anywhere (`spend_everywhere`). One Server alone keeps it in memory, and hands
it on to its next start (`kept_replays`). After a crash that is lost: then `lost_before` says up to when something may be missing.
"""

import hashlib
import math
from datetime import UTC, datetime, timedelta

import msgspec

from lyftdata.core.assertions import LEEWAY_S, VerifiedAssertion
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import AssertionReplayedError, RateLimitedError
from lyftdata.store import Store
from lyftdata.store.tables import spent_assertions

_MAX_PER_WORKER = 1_000
_TIDY_ABOVE = 32

Used = dict[str, dict[str, float]]
"""By Worker: each `jti`, and until when (Unix time) it may not be used again."""


class Ticket(msgspec.Struct, frozen=True):
    """What was used up at this Server and is to be used up at all others too (`spend_everywhere`)."""

    digest: bytes
    until: datetime


class _Share:
    """What one Worker has signed, until when each may not be used again, and when a look for ended ones is worth it."""

    __slots__ = ("first_end_s", "tidy_above", "until_s")

    def __init__(self, until_s: dict[str, float]) -> None:
        self.until_s = until_s
        self.first_end_s = min(self.until_s.values(), default=math.inf)
        self.tidy_above = max(_TIDY_ABOVE, 2 * len(self.until_s))

    def tidy(self, now_s: float, most: int) -> None:
        """Drop what has ended; seldom enough that a Worker which signs much costs no more for each."""
        if now_s < self.first_end_s or len(self.until_s) < min(self.tidy_above, most):
            return
        self.until_s = {jti: end_s for jti, end_s in self.until_s.items() if end_s > now_s}
        self.first_end_s = min(self.until_s.values(), default=math.inf)
        self.tidy_above = max(_TIDY_ABOVE, 2 * len(self.until_s))

    def add(self, jti: str, until_s: float) -> None:
        self.until_s[jti] = until_s
        self.first_end_s = min(self.first_end_s, until_s)


class SpentAssertions:
    """
    The `jti` of every assertion until it can no longer be used; in memory, for one Server process.

    Args:
        max_per_worker: How many a Worker may have in use at once.
        shared: Whether there may be other Servers: then what is used up here gives a ticket.
        used: What was used before this process started.
        lost_before: A moment before which anything may have been used without being in `used`: the start of the last
            process that followed on a crash, this one or an earlier one.
    """

    def __init__(
        self,
        *,
        max_per_worker: int = _MAX_PER_WORKER,
        shared: bool = False,
        used: Used | None = None,
        lost_before: datetime | None = None,
    ) -> None:
        self._max_per_worker = max_per_worker
        self._shared = shared
        self._spent = {worker_id: _Share(until_s) for worker_id, until_s in (used or {}).items()}
        self.lost_before = lost_before

    def may_have_lost(self, worker: WorkerRecord, signed_at: datetime, *, leeway_s: float) -> bool:
        """
        Return whether what a Worker has signed may have been used without this being known.

        Args:
            worker: The entry. One that was created after the start can have used nothing before it.
            signed_at: When, by the Worker's clock.
            leeway_s: By how much that may be ahead.
        """
        lost_before = self.lost_before
        if lost_before is None or worker.created_at >= lost_before:
            return False
        return signed_at < lost_before + timedelta(seconds=leeway_s)

    def spend(
        self, worker_id: str, assertion: VerifiedAssertion, *, now_s: float, leeway_s: float = LEEWAY_S
    ) -> Ticket | None:
        """
        Use an assertion up.

        Raises:
            AssertionReplayedError: It was used before.
            RateLimitedError: The Worker holds more unexpired assertions than any honest one would.
        """
        # The memory outlives the assertion by the leeway: one accepted in its last seconds could otherwise
        # be used again once its record had gone.
        until_s = assertion.expires_at.timestamp() + leeway_s
        return self.spend_id(worker_id, assertion.jti, until_s=until_s, now_s=now_s)

    def spend_id(self, worker_id: str, jti: str, *, until_s: float, now_s: float) -> Ticket | None:
        """Use up what a Worker has signed, until then; raises as `spend`."""
        mine = self._spent.setdefault(worker_id, _Share({}))
        mine.tidy(now_s, self._max_per_worker)
        if jti in mine.until_s:
            raise AssertionReplayedError(f"jti {jti}", claimed_worker=worker_id)
        if len(mine.until_s) >= self._max_per_worker:
            raise RateLimitedError("This Worker signs assertions without end.", claimed_worker=worker_id)
        mine.add(jti, until_s)
        if not self._shared:
            return None
        signed = f"{worker_id}\0{jti}".encode("utf-8", "surrogateescape")
        return Ticket(hashlib.sha256(signed).digest(), datetime.fromtimestamp(until_s, UTC))

    def forget_idle(self, now_s: float) -> None:
        """Drop Workers whose assertions have all died; called now and then, never on the token path."""
        for worker_id in [
            w for w, mine in self._spent.items() if all(end <= now_s for end in mine.until_s.values())
        ]:
            del self._spent[worker_id]

    def used(self) -> Used:
        """Return what was used, for the next start."""
        return {worker_id: mine.until_s for worker_id, mine in self._spent.items() if mine.until_s}

    def __len__(self) -> int:
        """Return how many are remembered."""
        return sum(len(mine.until_s) for mine in self._spent.values())


async def spend_everywhere(store: Store, ticket: Ticket | None, *, claimed_worker: str) -> None:
    """
    Use an assertion up at every Server of the deployment; durable when this returns.

    Raises:
        AssertionReplayedError: It was used at another Server.
    """
    if ticket is None:
        return
    is_first = await store.write(
        lambda tx: spent_assertions.spend(tx, ticket.digest, expires_at=ticket.until)
    )
    if not is_first:
        raise AssertionReplayedError("It was used at another Server.", claimed_worker=claimed_worker)
