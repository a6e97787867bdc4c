"""
Records refusals: counts them, stores them in batches, limits them per address, and decides what the caller may read.

The caller gets a reference, with which an operator finds the exact cause. Enumeration: it is random for each attempt. If it
depended on the cause, an attacker would learn which of two attempts failed for the same reason.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from lyftdata.core.log_events.server import REFUSAL_LOG_THROTTLED, REFUSED
from lyftdata.core.names import generate_reference
from lyftdata.core.rate_limit import FailureLimiter, network_of
from lyftdata.core.records import RefusalAttempt
from lyftdata.core.redaction import hide_credentials, hide_random
from lyftdata.core.refusals import RateLimitedError, RefusedError, format_detail
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.log import emit, get_logger
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.metrics import Metrics
from lyftdata.store import Store
from lyftdata.store.tables import refusals

_log = get_logger(__name__)

# Memory exhaustion: what one flush may write, which bounds what a flood can make the Server keep; the rest is only counted.
_MAX_PENDING = 2_000
_WRITE_BATCH = 100
# Log flooding, to hide an attack: an attacker with many addresses could cause thousands of new rows a second, and within half a
# minute evict other records from the bounded table. So writes are limited in total, and for each network of the size that
# providers assign to one customer.
_WRITE_BURST = 900
_WRITES_PER_S = 20
_NETWORK_WRITE_BURST = 300
_NETWORK_WRITES_PER_S = 5
_CUSTOMER_IPV6_PREFIX = 48
_MAX_SHARED = 10_000
_SHARED_FOR_S = 60.0
_MAX_KEPT_OF_A_CLAIM = 128
# Longer than what is stored: a credential must be recognized as a whole, and redacted, before anything is truncated.
_MAX_READ_OF_A_CLAIM = 1_024


class PublicRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the caller may know about a refusal.

    Secret disclosure: this is not the exception, whose traceback references the frames it passed through, and with them the credential.
    """

    code: str
    proved: bool
    final: bool
    explanation: str
    remedy: str
    reference: str
    retry_after_s: int | None = None
    """Seconds to wait; set if the caller was refused too often."""


def _public(refused: RefusedError, reference: str, *, retry_after_s: int | None = None) -> PublicRefusal:
    return PublicRefusal(
        code=refused.code,
        proved=refused.proved,
        final=refused.final,
        # Timing oracle: formatted only for a caller that reads it, since the time it takes depends on the cause.
        explanation=refused.explanation if refused.proved else "",
        remedy=refused.remedy,
        reference=reference,
        retry_after_s=retry_after_s,
    )


class _Pending(msgspec.Struct, frozen=True, kw_only=True):
    """
    An attempt that is not yet stored.

    Timing oracle: the detail is formatted and cleaned when it is stored, not before the response. Its length depends on the cause, so
    that the response time would reveal what the response does not.
    """

    code: str
    proved: bool
    reference: str
    at: datetime
    address: str
    claimed_worker: str
    unformatted_detail: str | Callable[[], str]
    api_key: str
    other_worker: str
    enrollment_key: str

    def to_attempt(self, secrets: Sequence[Secret]) -> RefusalAttempt:
        """Return the record to store."""
        return RefusalAttempt(
            reference=self.reference,
            code=self.code,
            at=self.at,
            address=self.address,
            claimed_worker=self.claimed_worker,
            detail=clean_text(hide_credentials(format_detail(self.unformatted_detail), secrets=secrets), 512),
            proved=self.proved,
            api_key=self.api_key,
            other_worker=self.other_worker,
            enrollment_key=self.enrollment_key,
        )


class RefusalLog:
    """
    Records every refusal, decides what the caller may know about it, and stores the exact cause for operators.

    Args:
        is_worker: Whether there is a Worker with this ID: a Worker's ID is shown unredacted, even if it looks like a secret.
        secrets: The Server's own enrollment keys, redacted wherever a caller has put one.
    """

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        random_bytes: RandomBytes,
        is_worker: Callable[[str], bool],
        secrets: Sequence[Secret] = (),
    ) -> None:
        self._is_worker = is_worker
        self._secrets = secrets
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._random_bytes = random_bytes
        self.limiter = FailureLimiter()
        self._kept = FailureLimiter(burst=100, refill_per_s=5)
        self._written = FailureLimiter(burst=_WRITE_BURST, refill_per_s=_WRITES_PER_S)
        self._written_of_a_network = FailureLimiter(
            burst=_NETWORK_WRITE_BURST, refill_per_s=_NETWORK_WRITES_PER_S
        )
        self._left_out = 0
        self._kept_of_a_worker = FailureLimiter(burst=20, refill_per_s=1 / 30)
        self._pending: list[_Pending] = []
        self._in_flight: list[_Pending] = []
        self._flushing = asyncio.Lock()
        self._shared: dict[str, tuple[str, float]] = {}

    def record(
        self, refused: RefusedError, *, address: str, limited: bool = True, proved_by: str | None = None
    ) -> PublicRefusal:
        """
        Record a refusal, and return what the caller may read.

        Args:
            refused: The cause, with its detail for operators.
            address: The caller's IP address.
            limited: Whether failures count against the address; False if the caller is a proxy that asks on behalf of others.
            proved_by: The credential of an authenticated caller that has no identity yet: the fingerprint of an
             enrollment key. Such a caller can claim any name, so it is not counted by name.
        """
        now_s = self._clock().timestamp()
        network = network_of(address)
        if refused.proved:
            # Log flooding: an authenticated caller reads the cause, but one that retries endlessly must not evict the references of
            # others.
            by = _claim(refused) if proved_by is None else f"{proved_by} {network}"
            beyond = self._kept_of_a_worker.record_failure(by, now_s) is not None
            return _public(refused, self._reference(refused, address, beyond, by=by))
        if not limited:
            # Denial of service: a proxy is never limited for its callers' tokens, or one of them could lock out all others. A flood through
            # it is not stored in full.
            beyond = self._kept.record_failure(address, now_s) is not None
            return _public(refused, self._reference(refused, address, beyond, by=network))
        retry_after_s = self.limiter.record_failure(address, now_s)
        if retry_after_s is None:
            return _public(refused, self._reference(refused, address, beyond=False, by=network))
        # Brute force: beyond the limit every failure gets 429, whatever its cause. A valid credential is never limited, since many
        # Workers may share the address.
        limited_refusal = self._limited(refused)
        reference = self._reference(limited_refusal, address, beyond=True, by=network)
        return _public(limited_refusal, reference, retry_after_s=max(1, round(retry_after_s)))

    def record_unchecked(self, refused: RefusedError, *, address: str, retry_after_s: float) -> PublicRefusal:
        """
        Count an attempt whose credential was not checked; cheap, because it must be in a flood.

        Args:
            refused: The cause.
            address: IP address of the caller.
            retry_after_s: Seconds until one is checked again.
        """
        reference = self._reference(refused, address, beyond=True, by=f"unchecked {network_of(address)}")
        return _public(refused, reference, retry_after_s=max(1, math.ceil(retry_after_s)))

    async def flush(self) -> None:
        """
        Write pending refusals to the store.

        When this returns, everything recorded before the call can be read there, including what a concurrent flush was writing. What
        could not be written stays pending.
        """
        async with self._flushing:
            self._in_flight, self._pending = self._pending, []
            self._forget_shared()
            self._log_dropped_refusals()
            try:
                while self._in_flight:
                    # Denial of service: in batches, so that under a flood an operator's change does not wait for all of them.
                    part = [attempt.to_attempt(self._secrets) for attempt in self._in_flight[:_WRITE_BATCH]]
                    await self._store.write(lambda tx, part=part: refusals.record_refusals(tx, part))  # type: ignore[misc]
                    del self._in_flight[:_WRITE_BATCH]
            finally:
                self._pending = (self._in_flight + self._pending)[:_MAX_PENDING]
                self._in_flight = []

    def unwritten(self) -> list[RefusalAttempt]:
        """Return the attempts that are not yet in the store, the oldest first."""
        return [attempt.to_attempt(self._secrets) for attempt in (*self._in_flight, *self._pending)]

    def find_unwritten(self, reference: str) -> RefusalAttempt | None:
        """Return an attempt that is not yet in the store, or None."""
        waiting = (*self._in_flight, *self._pending)
        return next((a.to_attempt(self._secrets) for a in waiting if a.reference == reference), None)

    def _reference(self, refused: RefusedError, address: str, beyond: bool, *, by: str) -> str:  # noqa: FBT001
        """Return a new reference or, beyond the limit, one that attempts with the same `by` share for a minute."""
        if not beyond:
            return self._add_pending(refused, address=address)
        shared = self._shared.get(by)
        if shared is not None:
            self._metrics.refused(refused)
            return shared[0]
        reference = self._add_pending(refused, address=address)
        if len(self._shared) < _MAX_SHARED:
            self._shared[by] = (reference, self._clock().timestamp() + _SHARED_FOR_S)
        return reference

    def _forget_shared(self) -> None:
        now_s = self._clock().timestamp()
        for by in [by for by, (_, until_s) in self._shared.items() if until_s <= now_s]:
            del self._shared[by]

    def _add_pending(self, refused: RefusedError, *, address: str) -> str:
        self._metrics.refused(refused)
        reference = generate_reference(self._random_bytes)
        claimed_worker = self._clean_claim(_claim(refused))
        # The caller cannot tell a stored reference from a dropped one, and so cannot see when the log is full.
        if not self._has_room(refused, address):
            self._left_out += 1
            return reference
        self._pending.append(
            _Pending(
                code=refused.code,
                proved=refused.proved,
                reference=reference,
                at=self._clock(),
                address=address,
                claimed_worker=claimed_worker,
                unformatted_detail=refused.unformatted_detail,
                api_key=refused.api_key,
                other_worker=refused.other_worker,
                enrollment_key=refused.enrollment_key,
            )
        )
        emit(
            _log,
            REFUSED,
            code=refused.code,
            reference=reference,
            address=address,
            claimed_worker=claimed_worker,
        )
        return reference

    def _has_room(self, refused: RefusedError, address: str) -> bool:
        """
        Return whether another attempt may be stored; authenticated callers have their own limit.

        Enumeration by timing: whether the claimed Worker exists must not matter here. Storing takes time: an attacker who has
        used up the limit for unknown names could tell from the response time which names exist.
        """
        now_s = self._clock().timestamp()
        if len(self._pending) + len(self._in_flight) >= _MAX_PENDING:
            return False
        if refused.proved:
            return self._written.record_failure("proved", now_s) is None
        wide = network_of(address, ipv6_prefix=_CUSTOMER_IPV6_PREFIX)
        of_a_network = self._written_of_a_network.record_failure(wide, now_s) is None
        return of_a_network and self._written.record_failure("unproven", now_s) is None

    def _log_dropped_refusals(self) -> None:
        count, self._left_out = self._left_out, 0
        if count:
            emit(_log, REFUSAL_LOG_THROTTLED, left_out=count)

    def _limited(self, refused: RefusedError) -> RateLimitedError:
        code, claimed_worker = refused.code, _claim(refused)
        return RateLimitedError(
            lambda: f"Among them: {code} for '{self._clean_claim(claimed_worker)[:64]}'.",
            claimed_worker=claimed_worker,
        )

    def _clean_claim(self, claimed_worker: str) -> str:
        """
        Clean a claimed ID for storage: a caller that confuses ID and key sends the key, which must not be stored.

        Enumeration by timing: the work is the same for an ID that exists and for one that does not.
        """
        hidden = hide_random(hide_credentials(claimed_worker, secrets=self._secrets))
        kept = claimed_worker if self._is_worker(claimed_worker) else hidden
        return clean_text(kept, _MAX_KEPT_OF_A_CLAIM)


def _claim(refused: RefusedError) -> str:
    """Return the claimed ID, truncated to the length that is processed: what was sent may be very long."""
    return refused.claimed_worker[:_MAX_READ_OF_A_CLAIM]
