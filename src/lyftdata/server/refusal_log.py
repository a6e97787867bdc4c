"""
Where refusals go: counted, written down in batches, limited per address, and answered.

The Worker's side and the operator's side meet at the reference. It is drawn at random for each attempt: one
that depended on the cause would tell an attacker which of two attempts failed for the same reason.
"""

import asyncio
import re
from datetime import datetime

import msgspec

from lyftdata.core.names import clean_text, generate_reference
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.core.records import RefusalAttempt
from lyftdata.core.refusals import RateLimitedError, RefusedError
from lyftdata.log import get_logger
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.metrics import Metrics
from lyftdata.store import Store, refusals

_log = get_logger(__name__)

# What one flush may write, and so what a flood can make the Server hold: the rest is counted, not kept.
_MOST_PENDING = 2_000
_MOST_LIMITED_ADDRESSES = 10_000
_API_KEY = re.compile(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]+")


class Answer(msgspec.Struct, frozen=True):
    """What the caller may know of a refusal; `retry_after_s` is set when it comes too often."""

    refused: RefusedError
    reference: str
    retry_after_s: int | None = None


class _Pending(msgspec.Struct, frozen=True):
    """
    An attempt until it is written down.

    The detail is cleaned then, not before the answer: its length depends on the cause, and the time that takes
    would tell the caller what the answer does not.
    """

    refused: RefusedError
    reference: str
    at: datetime
    address: str
    claimed_worker: str

    def whole(self) -> RefusalAttempt:
        """Return what is kept."""
        return RefusalAttempt(
            reference=self.reference,
            code=self.refused.code,
            at=self.at,
            address=self.address,
            claimed_worker=self.claimed_worker,
            detail=clean_text(self.refused.detail, 512),
            proved=self.refused.proved,
        )


class RefusalLog:
    """Takes every refusal, decides what the caller may know of it, and keeps the whole reason for operators."""

    def __init__(self, *, store: Store, metrics: Metrics, clock: Clock, random_bytes: RandomBytes) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._random_bytes = random_bytes
        self._limiter = FailureLimiter()
        self._kept = FailureLimiter(burst=100, refill_per_s=5)
        self._pending: list[_Pending] = []
        self._flushing = asyncio.Lock()
        self._shared: dict[str, str] = {}

    def record(self, refused: RefusedError, *, address: str, limited: bool = True) -> Answer:
        """
        Write a refusal down and say what its caller may read.

        Args:
            refused: The cause, with its detail for operators.
            address: Whoever asked, as an IP address.
            limited: Whether failures are counted against the address. Not so where the caller is a proxy
                that asks for others.
        """
        now_s = self._clock().timestamp()
        if not refused.proved and limited:
            retry_after_s = self._limiter.record_failure(address, now_s)
            if retry_after_s is not None:
                return self._answer_limited(refused, address=address, retry_after_s=retry_after_s)
        elif not refused.proved and self._kept.record_failure(address, now_s) is not None:
            # A proxy is never turned away for what it asks about, but a flood through it is not kept whole.
            return Answer(refused, self._shared_reference(refused, address=address))
        reference = self._write_down(refused, address=address)
        return Answer(refused, reference)

    async def flush(self) -> None:
        """
        Write what is pending to the store, in one operation.

        When this returns, everything recorded before it was called can be read; also what another flush was
        just writing. What could not be written stays pending.
        """
        async with self._flushing:
            pending, self._pending = self._pending, []
            self._shared.clear()
            if not pending:
                return
            attempts = [attempt.whole() for attempt in pending]
            try:
                await self._store.write(lambda tx: refusals.record_refusals(tx, attempts))
            except BaseException:
                self._pending = (pending + self._pending)[:_MOST_PENDING]
                raise

    def _answer_limited(self, refused: RefusedError, *, address: str, retry_after_s: float) -> Answer:
        """One reference an address and flush: beyond the limit, attempts are counted and no longer kept."""
        limited = RateLimitedError(
            f"Among them: {refused.code} for '{clean_text(refused.claimed_worker, 64)}'.",
            claimed_worker=refused.claimed_worker,
        )
        reference = self._shared_reference(limited, address=address)
        return Answer(limited, reference, retry_after_s=max(1, round(retry_after_s)))

    def _shared_reference(self, refused: RefusedError, *, address: str) -> str:
        """Return the reference that an address's attempts share until the next flush."""
        reference = self._shared.get(address)
        if reference is not None:
            self._metrics.refused(refused)
            return reference
        reference = self._write_down(refused, address=address)
        if len(self._shared) < _MOST_LIMITED_ADDRESSES:
            self._shared[address] = reference
        return reference

    def _write_down(self, refused: RefusedError, *, address: str) -> str:
        self._metrics.refused(refused)
        reference = generate_reference(self._random_bytes)
        # Whoever mixes up ID and key sends the key as a name: it must not stand in the log.
        claimed_worker = clean_text(_API_KEY.sub("lyftdata_***", refused.claimed_worker), 128)
        if len(self._pending) < _MOST_PENDING:
            self._pending.append(_Pending(refused, reference, self._clock(), address, claimed_worker))
            _log.info(
                "refused",
                code=refused.code,
                reference=reference,
                address=address,
                claimed_worker=claimed_worker,
            )
        return reference
