"""
Shares failure counts among the Servers of a deployment, so that each limit applies to all of them together.

An attacker who uses N Servers gets the burst of each, within that fraction of a second, and from then on only what a single
Server would allow.
"""

from collections.abc import Mapping
from typing import Any

from lyftdata.core.enrollment_limit import EnrollmentLimit
from lyftdata.core.lockout import Lockout
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.changes import Broadcast

_FAILURES = "failures"
_SIGN_INS = "sign_ins"
# A flood from many addresses must not become a flood between Servers: what is published at once is bounded, the worst first, and the rest
# follows.
_MAX_AT_ONCE = 200


class SharedLimits:
    """
    Publishes what the limiters have counted, and feeds them the counts of peers.

    Args:
        store: Used to exchange the counts.
        limiters: By a name that is the same at every Server.
        lockout: Counts failed sign-ins.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        limiters: Mapping[str, FailureLimiter | EnrollmentLimit],
        lockout: Lockout,
        clock: Clock,
    ) -> None:
        self._store = store
        self._limiters = limiters
        self._lockout = lockout
        self._clock = clock
        if store.is_shared:
            for limiter in limiters.values():
                limiter.collect_for_peers()

    async def flush(self) -> None:
        """Publish counts to peers; called a few times a second. What cannot be published is dropped: each Server has its own count."""
        counted = {name: limiter.take_unpublished(_MAX_AT_ONCE) for name, limiter in self._limiters.items()}
        failures = {name: networks for name, networks in counted.items() if networks}
        sign_ins = self._lockout.take_unpublished()
        broadcasts = (
            [Broadcast(_FAILURES, {"by": self._store.server_id, "failures": failures})] if failures else []
        )
        broadcasts += (
            [Broadcast(_SIGN_INS, {"by": self._store.server_id, "sign_ins": sign_ins})] if sign_ins else []
        )
        if broadcasts:
            await self._store.write(lambda tx: tx.changes.extend(broadcasts))

    def receive(self, topic: str, body: Mapping[str, Any]) -> None:
        """Count failures published by a peer."""
        if body.get("by") == self._store.server_id:
            return
        now = self._clock()
        if topic == _FAILURES:
            for name, networks in body["failures"].items():
                # A newer version may have limits that this one lacks.
                if (limiter := self._limiters.get(name)) is not None:
                    for network, count in networks.items():
                        limiter.charge(network, count, now.timestamp())
        elif topic == _SIGN_INS:
            for event in body["sign_ins"]:
                self._lockout.receive(event, now=now)
