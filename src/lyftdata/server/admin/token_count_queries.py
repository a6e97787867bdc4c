"""Read model of Workers' token counts by hour."""

from datetime import timedelta

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.scopes import Scope
from lyftdata.server.admin.schemas.workers import TokenCount, TokenCounts
from lyftdata.server.admission import token_counts
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import workers

_MIN_WITHIN = timedelta(hours=1)


class TokenCountQueries:
    """The hourly counts of one Worker's tokens."""

    def __init__(self, *, counts: token_counts.TokenCounts, store: Store, clock: Clock) -> None:
        self._counts = counts
        self._store = store
        self._clock = clock

    async def counts_of(self, worker_id: str, *, within: timedelta, scope: Scope) -> TokenCounts:
        """
        Return how many tokens a Worker got in each of the last hours, the earliest first.

        Args:
            worker_id: The Worker.
            within: How far back, from an hour to 30 days; the first hour is counted in full.
            scope: The scope of the caller.

        Raises:
            NotFoundError: There is no such Worker.
            InvalidInputError: `within` is too short or too long.
        """
        if not _MIN_WITHIN <= within <= token_counts.KEPT_FOR:
            raise InvalidInputError("within", f"must be from 1h to {token_counts.KEPT_FOR.days}d")
        await self._store.read(lambda conn: workers.get_worker_in(conn, worker_id, scope))
        until = self._clock()
        since = (until - within).replace(minute=0, second=0, microsecond=0)
        found = await self._counts.counts_of(worker_id, since=since)
        return TokenCounts(
            since=since,
            until=until,
            total=sum(count.tokens for count in found),
            hours=[TokenCount(at=count.hour, tokens=count.tokens) for count in found],
        )
