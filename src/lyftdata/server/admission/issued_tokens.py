"""Records who was issued a token, from where and by which credential; nothing is written before the Worker is answered."""

from lyftdata.core.tokens import kind_and_value
from lyftdata.server.admission.origin_watch import OriginWatch
from lyftdata.server.admission.token_counts import TokenCounts
from lyftdata.server.admission.token_issuer import Admitted
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.clock import Clock
from lyftdata.server.metrics import Metrics
from lyftdata.server.sessions.activity import ActivityLog


class IssuedTokens:
    """
    Passes each issued token on to everything that keeps a record of it, in memory.

    Args:
        origins: Where tokens were requested from.
        origin_watch: Compares that with where the Worker is connected.
        counts: Tokens by Worker and hour.
        activity: When a Worker was last accepted, and when an API key was last used.
        metrics: Tokens by strategy.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        origins: TokenOrigins,
        origin_watch: OriginWatch,
        counts: TokenCounts,
        activity: ActivityLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._origins = origins
        self._origin_watch = origin_watch
        self._counts = counts
        self._activity = activity
        self._metrics = metrics
        self._clock = clock

    def record(self, admitted: Admitted, *, audience: str, address: str) -> None:
        """Record a token that was signed for an admitted Worker; `address` is the IP address of the request."""
        now, worker = self._clock(), admitted.worker
        credential = kind_and_value(admitted.credential)
        self._origins.token_given(
            worker.id, address=address, credential=credential, audience=audience, at=now
        )
        self._origin_watch.token_given(
            worker.id, address=address, credential=credential, audience=audience, at=now
        )
        self._counts.token_given(worker.id, at=now)
        self._metrics.token_signed(worker.strategy)
        self._activity.token_given(worker.id, at=now)
        if admitted.api_key is not None:
            self._activity.key_used(admitted.api_key.public_id, worker.id, at=now)
        if admitted.issuer is not None and admitted.issuer != worker.signs_for:
            self._activity.signed_for(worker.id, admitted.issuer)
