"""
Rejects assertions and proofs of possession that were used before (RFC 7523, section 3, point 7; RFC 9449, section 11.1).

Memory exhaustion: only validly signed ones are recorded, so a caller without a Worker's credential cannot fill this memory, and a
Worker that signs endlessly fills only its own share.

With several Servers the database records what was used at any of them (`spend_everywhere`). A single Server keeps the records in memory,
and saves them for its next start (`replay_file`). A crash loses them; `lost_before` then says until when records may be missing.
"""

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from lyftdata.core.assertions import LEEWAY_S, VerifiedAssertion
from lyftdata.core.records import SignatureCounterRecord, WorkerRecord
from lyftdata.core.refusals import AssertionReplayedError, RateLimitedError, RefusedError, WrongAssertionError
from lyftdata.server.admission.signature_counters import Counted, count_signature
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import signature_counters, spent_assertions, workers

_MAX_PER_WORKER = 1_000
_TIDY_ABOVE = 32

Used = dict[str, dict[str, float]]
"""By Worker: each `jti`, and the Unix time until which it must not be accepted again."""


class Ticket(msgspec.Struct, frozen=True):
    """What was spent at this Server and must also be spent at its peers (`spend_everywhere`)."""

    digest: bytes
    until: datetime
    worker_id: str
    counted: Counted | None = None
    """A signature to count in the same transaction."""


class _Share:
    """The spent `jti`s of one Worker with their expiry times, and the size at which to look for expired ones."""

    __slots__ = ("first_end_s", "tidy_above", "until_s")

    def __init__(self, until_s: dict[str, float]) -> None:
        self.until_s = until_s
        self.first_end_s = min(self.until_s.values(), default=math.inf)
        self.tidy_above = max(_TIDY_ABOVE, 2 * len(self.until_s))

    def drop_expired(self, now_s: float, max_entries: int) -> None:
        """Drop expired ones; seldom enough to keep the cost per assertion constant, no matter how many a Worker signs."""
        if now_s < self.first_end_s or len(self.until_s) < min(self.tidy_above, max_entries):
            return
        self.until_s = {jti: end_s for jti, end_s in self.until_s.items() if end_s > now_s}
        self.first_end_s = min(self.until_s.values(), default=math.inf)
        self.tidy_above = max(_TIDY_ABOVE, 2 * len(self.until_s))

    def add(self, jti: str, until_s: float) -> None:
        self.until_s[jti] = until_s
        self.first_end_s = min(self.first_end_s, until_s)


class SpentAssertions:
    """
    The `jti` of every assertion until it expires; in memory, for one Server process.

    Args:
        max_per_worker: How many unexpired ones a Worker may have.
        shared: Whether there may be peers: then spending returns a ticket.
        used: What was spent before this process started.
        lost_before: A time before which `used` may be incomplete: the last start after a crash, whether of this process or an
         earlier one.
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

    def may_be_unrecorded(self, worker: WorkerRecord, signed_at: datetime, *, leeway_s: float) -> bool:
        """
        Return whether an assertion may have been used without a record of it.

        Args:
            worker: The entry; a Worker created after the start cannot have used anything before it.
            signed_at: When it was signed, by the Worker's clock.
            leeway_s: How many seconds that clock may be ahead.
        """
        lost_before = self.lost_before
        if lost_before is None or worker.created_at >= lost_before:
            return False
        return signed_at < lost_before + timedelta(seconds=leeway_s)

    def spend(
        self, worker_id: str, assertion: VerifiedAssertion, *, now_s: float, leeway_s: float = LEEWAY_S
    ) -> Ticket | None:
        """
        Spend an assertion.

        Raises:
            AssertionReplayedError: It was used before.
            RateLimitedError: The Worker has more unexpired assertions than an honest one would.
        """
        # Replay at the edge: the record is kept longer than the assertion, by the leeway. Otherwise an assertion accepted in its last seconds
        # could be used again once its record is gone.
        until_s = assertion.expires_at.timestamp() + leeway_s
        return self.spend_id(worker_id, assertion.jti, until_s=until_s, now_s=now_s)

    def spend_id(self, worker_id: str, jti: str, *, until_s: float, now_s: float) -> Ticket | None:
        """Mark a signed `jti` of a Worker as used until a Unix time; raises like `spend`."""
        # Keyed by the Worker's own ID: a `jti` chosen by one Worker cannot make another one's assertion a "replay".
        mine = self._spent.get(worker_id)
        if mine is None:
            mine = self._spent[worker_id] = _Share({})
        mine.drop_expired(now_s, self._max_per_worker)
        if jti in mine.until_s:
            raise AssertionReplayedError(f"jti {jti}", claimed_worker=worker_id)
        # Memory exhaustion: refuse, never evict. With eviction, a thief could push out the record of a captured assertion and
        # replay it.
        if len(mine.until_s) >= self._max_per_worker:
            raise RateLimitedError("This Worker has too many unexpired assertions.", claimed_worker=worker_id)
        mine.add(jti, until_s)
        if not self._shared:
            return None
        # Separated by NUL, which neither part can contain: different pairs have different digests.
        signed = f"{worker_id}\0{jti}".encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(signed).digest()
        return Ticket(digest, datetime.fromtimestamp(until_s, UTC), worker_id)

    def forget_idle(self, now_s: float) -> None:
        """Drop Workers whose assertions have all expired; called periodically, never on the token path."""
        for worker_id in [
            w for w, mine in self._spent.items() if all(end <= now_s for end in mine.until_s.values())
        ]:
            del self._spent[worker_id]

    def used(self) -> Used:
        """Return what was spent, to save it for the next start."""
        return {worker_id: mine.until_s for worker_id, mine in self._spent.items() if mine.until_s}

    def __len__(self) -> int:
        """Return the number of records."""
        return sum(len(mine.until_s) for mine in self._spent.values())


async def spend_everywhere(store: Store, ticket: Ticket | None) -> None:
    """
    Spend an assertion at every Server of the deployment, and count its signature; durable when this returns.

    Replay at another Server: the insert is atomic in the shared database, so that of two Servers that receive the same assertion at
    once, one refuses it.

    Raises:
        AssertionReplayedError: It was used at another Server.
        RefusedError: From `count_signature`; the assertion stays spent.
    """
    if ticket is None:
        return
    refused = await store.write_batched(_spend_all, ticket)
    if refused is not None:
        raise refused


def _check_key(tx: WriteTx, counted: Counted) -> None:
    """
    Reject a signature by an identity key that was replaced before this Server knew about it.

    Evading detection: counted as a new key's, it would reset the counter, and a copy of the directory could continue to sign.
    """
    worker = workers.find_worker(tx.conn, counted.worker_id)
    if worker is None or counted.thumbprint not in {worker.thumbprint, worker.next_thumbprint}:
        raise WrongAssertionError(
            "It was signed by an identity key that was replaced since.", claimed_worker=counted.worker_id
        )


def _spend_all(tx: WriteTx, tickets: Sequence[Ticket]) -> list[RefusedError | None]:
    """
    Spend and count a batch in order, as if each were alone; runs in the writer's thread.

    Refusals are returned, not raised: raising would roll back, but a refused assertion must stay spent (replay).
    """
    unspent = spent_assertions.spend_all(tx, {ticket.digest: ticket.until for ticket in tickets})
    counting = {ticket.worker_id for ticket in tickets if ticket.counted is not None}
    counters = signature_counters.find_counters(tx.conn, counting)
    changed: dict[str, SignatureCounterRecord] = {}
    outcomes: list[RefusedError | None] = []
    for ticket in tickets:
        try:
            if ticket.digest not in unspent:
                raise AssertionReplayedError(
                    "It was used at another Server.", claimed_worker=ticket.worker_id
                )
            unspent.remove(ticket.digest)
            if ticket.counted is not None:
                record = counters.get(ticket.worker_id)
                if record is not None and not ticket.counted.continues(record):
                    _check_key(tx, ticket.counted)
                after = count_signature(record, ticket.counted)
                if after is not None:
                    counters[ticket.worker_id] = changed[ticket.worker_id] = after
        except RefusedError as refused:
            outcomes.append(refused)
        else:
            outcomes.append(None)
    signature_counters.upsert_counters(tx, list(changed.values()))
    return outcomes
