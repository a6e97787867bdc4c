"""
Where refusals go: counted, written down in batches, limited per address, and answered.

The Worker's side and the operator's side meet at the reference. It is drawn at random for each attempt: one
that depended on the cause would tell an attacker which of two attempts failed for the same reason.
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

# What one flush may write, and so what a flood can make the Server hold: the rest is counted, not kept.
_MAX_PENDING = 2_000
_WRITTEN_AT_ONCE = 100
# Addresses are many: who has enough of them could have thousands of new rows written each second, and push out of the
# store within half a minute what is kept of everybody else. Anyone who has one network's worth of them, which is what a
# provider gives to anybody, takes little of that away from others.
_WRITTEN_IN_A_ROW = 900
_WRITTEN_PER_S = 20
_OF_A_NETWORK_IN_A_ROW = 300
_OF_A_NETWORK_PER_S = 5
_A_CUSTOMERS_PREFIX = 48
_MAX_SHARED = 10_000
_SHARED_FOR_S = 60.0
_MAX_KEPT_OF_A_CLAIM = 128
# A credential is to be recognised whole before anything is cut.
_MAX_READ_OF_A_CLAIM = 1_024


class PublicRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the caller may know of a refusal.

    Not the exception: that holds the frames it came through, and with them what was sent.
    """

    code: str
    proved: bool
    final: bool
    explanation: str
    remedy: str
    reference: str
    retry_after_s: int | None = None
    """Set when it comes too often."""


def _public(refused: RefusedError, reference: str, *, retry_after_s: int | None = None) -> PublicRefusal:
    return PublicRefusal(
        code=refused.code,
        proved=refused.proved,
        final=refused.final,
        # Put into words only for a caller that reads it: how long that takes depends on the cause.
        explanation=refused.explanation if refused.proved else "",
        remedy=refused.remedy,
        reference=reference,
        retry_after_s=retry_after_s,
    )


class _Pending(msgspec.Struct, frozen=True, kw_only=True):
    """
    An attempt until it is written down.

    The detail is put into words and cleaned then, not before the answer: its length depends on the cause, and the
    time that takes would tell the caller what the answer does not.
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

    def whole(self, secrets: Sequence[Secret]) -> RefusalAttempt:
        """Return what is kept."""
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
        )


class RefusalLog:
    """
    Takes every refusal, decides what the caller may know of it, and keeps the whole reason for operators.

    Args:
        is_worker: Whether there is a Worker with this ID; its ID is shown as it is, however it looks.
        secrets: The Server's own enrollment keys, to be hidden wherever a caller has put one.
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
        self._written = FailureLimiter(burst=_WRITTEN_IN_A_ROW, refill_per_s=_WRITTEN_PER_S)
        self._written_of_a_network = FailureLimiter(
            burst=_OF_A_NETWORK_IN_A_ROW, refill_per_s=_OF_A_NETWORK_PER_S
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
        Write a refusal down and say what its caller may read.

        Args:
            refused: The cause, with its detail for operators.
            address: The caller, as an IP address.
            limited: Whether failures are counted against the address. Not so where the caller is a proxy
                that asks for others.
            proved_by: With what a caller that has proved its credential did so, where that is not an identity of
                its own: the fingerprint of an enrollment key. Names it can make up as it likes.
        """
        now_s = self._clock().timestamp()
        network = network_of(address)
        if refused.proved:
            # It knows who it is and why it may not come in; one that asks without end must not push the
            # references of others out.
            by = _claim(refused) if proved_by is None else f"{proved_by} {network}"
            beyond = self._kept_of_a_worker.record_failure(by, now_s) is not None
            return _public(refused, self._reference(refused, address, beyond, by=by))
        if not limited:
            # A proxy's questions are never limited, but a flood through it is not recorded in full.
            beyond = self._kept.record_failure(address, now_s) is not None
            return _public(refused, self._reference(refused, address, beyond, by=network))
        retry_after_s = self.limiter.record_failure(address, now_s)
        if retry_after_s is None:
            return _public(refused, self._reference(refused, address, beyond=False, by=network))
        told = self._limited(refused)
        reference = self._reference(told, address, beyond=True, by=network)
        return _public(told, reference, retry_after_s=max(1, round(retry_after_s)))

    def record_unseen(self, refused: RefusedError, *, address: str, retry_after_s: float) -> PublicRefusal:
        """
        Count an attempt whose credential was not looked at; cheap, since they may come without end.

        Args:
            refused: The cause.
            address: IP address of the caller.
            retry_after_s: Seconds until one is looked at.
        """
        reference = self._reference(refused, address, beyond=True, by=f"unseen {network_of(address)}")
        return _public(refused, reference, retry_after_s=max(1, math.ceil(retry_after_s)))

    async def flush(self) -> None:
        """
        Write what is pending to the store.

        When this returns, everything recorded before it was called can be read there; also what another flush was
        just writing. What could not be written stays pending.
        """
        async with self._flushing:
            self._in_flight, self._pending = self._pending, []
            self._forget_shared()
            self._tell_left_out()
            try:
                while self._in_flight:
                    # A few at a time: under a flood an operator's decision must find its turn in between.
                    part = [attempt.whole(self._secrets) for attempt in self._in_flight[:_WRITTEN_AT_ONCE]]
                    await self._store.write(lambda tx, part=part: refusals.record_refusals(tx, part))  # type: ignore[misc]
                    del self._in_flight[:_WRITTEN_AT_ONCE]
            finally:
                self._pending = (self._in_flight + self._pending)[:_MAX_PENDING]
                self._in_flight = []

    def unwritten(self) -> list[RefusalAttempt]:
        """Return what no reader of the store sees yet, the oldest first."""
        return [attempt.whole(self._secrets) for attempt in (*self._in_flight, *self._pending)]

    def find_unwritten(self, reference: str) -> RefusalAttempt | None:
        """Return an attempt that no reader of the store sees yet, or None."""
        waiting = (*self._in_flight, *self._pending)
        return next((a.whole(self._secrets) for a in waiting if a.reference == reference), None)

    def _reference(self, refused: RefusedError, address: str, beyond: bool, *, by: str) -> str:  # noqa: FBT001
        """Return a reference of its own, or beyond the bound the one that `by` shares for a minute."""
        if not beyond:
            return self._write_down(refused, address=address)
        shared = self._shared.get(by)
        if shared is not None:
            self._metrics.refused(refused)
            return shared[0]
        reference = self._write_down(refused, address=address)
        if len(self._shared) < _MAX_SHARED:
            self._shared[by] = (reference, self._clock().timestamp() + _SHARED_FOR_S)
        return reference

    def _forget_shared(self) -> None:
        now_s = self._clock().timestamp()
        for by in [by for by, (_, until_s) in self._shared.items() if until_s <= now_s]:
            del self._shared[by]

    def _write_down(self, refused: RefusedError, *, address: str) -> str:
        self._metrics.refused(refused)
        reference = generate_reference(self._random_bytes)
        claimed_worker = self._fit_to_keep(_claim(refused))
        # The answer is the same, and a reference that leads nowhere looks like one that leads somewhere.
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
        Return whether one more is written down; those who have proved their key have room of their own.

        Whether there is a Worker of the name that was claimed must not be asked here: writing takes time, and a
        stranger who has used the room for other names up would see by it which names there are.
        """
        now_s = self._clock().timestamp()
        if len(self._pending) + len(self._in_flight) >= _MAX_PENDING:
            return False
        if refused.proved:
            return self._written.record_failure("proved", now_s) is None
        wide = network_of(address, ipv6_prefix=_A_CUSTOMERS_PREFIX)
        of_a_network = self._written_of_a_network.record_failure(wide, now_s) is None
        return of_a_network and self._written.record_failure("unproven", now_s) is None

    def _tell_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        if count:
            emit(_log, REFUSAL_LOG_THROTTLED, left_out=count)

    def _limited(self, refused: RefusedError) -> RateLimitedError:
        code, claimed_worker = refused.code, _claim(refused)
        return RateLimitedError(
            lambda: f"Among them: {code} for '{self._fit_to_keep(claimed_worker)[:64]}'.",
            claimed_worker=claimed_worker,
        )

    def _fit_to_keep(self, claimed_worker: str) -> str:
        """
        Clean what a caller called itself: someone who mixes up ID and key sends the key, and it must not be kept.

        The same work is done for an ID that there is and for one that there is not.
        """
        hidden = hide_random(hide_credentials(claimed_worker, secrets=self._secrets))
        kept = claimed_worker if self._is_worker(claimed_worker) else hidden
        return clean_text(kept, _MAX_KEPT_OF_A_CLAIM)


def _claim(refused: RefusedError) -> str:
    """Return what the caller called itself, as far as it is read: what was sent may be long, and is not to be kept."""
    return refused.claimed_worker[:_MAX_READ_OF_A_CLAIM]
