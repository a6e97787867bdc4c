"""
Reads what other Servers on the same database have changed.

A thread holds a connection on which the database sends notifications (LISTEN), and also queries a few times a second, since
PgBouncer in transaction mode passes no notifications on. Changes are delivered to the event loop in commit order, including
those that this Server wrote.

Stale decisions: a Server that has not read changes for a moment must not decide on what it has in memory, since a peer may have
revoked something. `is_current` says whether it may, and `refresh` queries at once on another connection. If that fails too,
nothing is decided (StoreError).
"""

import asyncio
import hmac
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from lyftdata.core.log_events.server import CHANGE_FEED_GAP, CHANGE_FEED_UNAVAILABLE
from lyftdata.log import emit, get_logger
from lyftdata.store.change_feed import change_log
from lyftdata.store.changes import Change
from lyftdata.store.dialects import postgresql
from lyftdata.store.errors import StoreError, problem_of

_log = get_logger(__name__)

# A clock that also counts while the host sleeps (Linux): after an hour's sleep the state in memory is an hour old.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# A revocation at one Server must take effect at all of them within a second, so state is trusted for less than that.
_TRUSTED_FOR_S = 0.7
_QUERY_EVERY_S = 0.2
REST_AFTER_ASKING_S = 0.01
_RETRY_AFTER_S = 0.25
_ANSWER_WITHIN_S = 2.0
_LISTENS_WITHIN_S = 5.0


def channel_of(key: bytes) -> str:
    """
    Return the name of the channel on which Servers with the same key notify each other.

    Denial of service: any role may send notifications on any channel of the database, so the name cannot be guessed.
    """
    return f"lyftdata_{hmac.digest(key, b'notification channel', 'sha256')[:16].hex()}"


class ReceivedChanges(msgspec.Struct, frozen=True):
    """Changes that were read, the position from which, and the time of the query."""

    news: change_log.ChangeBatch
    before: change_log.Cursor
    asked_at_s: float


class ChangeFeed:
    """
    Follows the changes in a database from a position on.

    Args:
        engine: The database.
        server_id: This Server.
        channel: The channel on which the Servers notify each other.
        position: The last change that the loaded state contains.
        on_change: Called in the event loop with the changes.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        server_id: str,
        channel: str,
        position: change_log.Cursor,
        on_change: Callable[[Sequence[Change]], None],
    ) -> None:
        self.server_id = server_id
        self._channel = channel
        self._query_connection = postgresql.dedicated_query_connection(engine)
        self._listen_connection = postgresql.dedicated_listen_connection(engine)
        self._listened_at_s = _now_s()
        self._position = position
        self._on_change = on_change
        self._mutex = threading.Lock()
        self._current_as_of_s = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running_query: asyncio.Future[None] | None = None
        self._queued_query: asyncio.Future[None] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen_forever, name="store-change-feed", daemon=True)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver changes from here on, in this event loop."""
        self._loop = loop
        self._thread.start()

    def has_begun(self) -> bool:
        """Return whether `begin` was called."""
        return self._loop is not None

    def end(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._query_connection.abort()
        self._listen_connection.abort()
        if self._thread.ident is not None:
            self._thread.join()
        if self._running_query is None or self._running_query.done():
            self._query_connection.close()

    def is_current(self) -> bool:
        """Return whether the state in memory may be trusted: changes of other Servers were read within the last 0.7 s."""
        return _now_s() - self._current_as_of_s < _TRUSTED_FOR_S

    async def refresh(self, *, full: bool = False) -> None:
        """
        Read changes now; concurrent callers share one query.

        Args:
            full: Whether the query must begin after this call, so that every change committed before it is in memory.

        Raises:
            StoreError: The database did not answer.
        """
        if _now_s() - self._listened_at_s > _LISTENS_WITHIN_S:
            self._listened_at_s = _now_s()
            self._listen_connection.abort()
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await asyncio.shield(self._next_query() if full else self._running_or_new_query())
        except TimeoutError:
            # The next caller asks again instead of waiting for an answer that never comes.
            self._query_connection.abort()
            raise StoreError("The database does not answer.") from None
        except DBAPIError as error:
            raise StoreError(f"The database failed: {problem_of(error)}.") from error

    def _running_or_new_query(self) -> "asyncio.Future[None]":
        if self._running_query is None or self._running_query.done():
            self._running_query = asyncio.ensure_future(asyncio.to_thread(self._query_with_retry))
            self._running_query.add_done_callback(_retrieve_exception)
        return self._running_query

    def _next_query(self) -> "asyncio.Future[None]":
        """Return the query that starts after the running one; all callers share it."""
        if self._running_query is None or self._running_query.done():
            return self._running_or_new_query()
        if self._queued_query is None or self._queued_query.done():
            self._queued_query = asyncio.ensure_future(self._query_after(self._running_query))
            self._queued_query.add_done_callback(_retrieve_exception)
        return self._queued_query

    async def _query_after(self, other: "asyncio.Future[None]") -> None:
        await asyncio.wait([other])
        # From here on a caller that needs a new answer must wait for the next query.
        self._queued_query = None
        await asyncio.shield(self._running_or_new_query())

    def record_changes(self, conn: Connection, changes: Sequence[Change]) -> ReceivedChanges:
        """
        Record a transaction's changes for peers, and return the changes that peers committed before it. Needs the writer lock.

        Returns:
            What must be applied once the transaction is committed.
        """
        asked_at_s = _now_s()
        before = reached = self._position
        found: list[change_log.ChangeBatch] = []
        while not found or found[-1].until != reached:
            reached = found[-1].until if found else before
            found.append(change_log.read(conn, after=reached))
        if changes:
            reached = change_log.record(conn, changes, server_id=self.server_id)
            postgresql.notify(conn, self._channel)
        news = change_log.ChangeBatch(
            until=reached,
            changes=[change for part in found for change in part.changes] + list(changes),
            broadcasts=[each for part in found for each in part.broadcasts],
            is_all=any(part.is_all for part in found),
        )
        return ReceivedChanges(news, before, asked_at_s)

    def apply_received(self, received: ReceivedChanges) -> None:
        """
        Deliver changes up to a position, unless that was done already; from any thread.

        A batch that reaches further was read later, and so is never older than what was delivered before. A full reload, made
        because the row at this Server's position was gone, counts as long as the position is unchanged: numbers may have
        become smaller.
        """
        loop, news = self._loop, received.news
        if loop is None:
            return
        with self._mutex:
            reaches_further = news.until.number > self._position.number
            if news.is_all and not reaches_further and self._position != received.before:
                return
            changes: list[Change] = []
            if reaches_further or news.is_all:
                # Two concurrent queries may read the same message, which is delivered once.
                reached = self._position.number
                broadcasts = [each for number, each in news.broadcasts if news.is_all or number > reached]
                changes = [*news.changes, *broadcasts]
                self._position = news.until
            try:
                loop.call_soon_threadsafe(self._deliver_to_followers, changes, received.asked_at_s)
            except RuntimeError:
                # The event loop was closed.
                self._ended.set()

    def _deliver_to_followers(self, changes: Sequence[Change], asked_at_s: float) -> None:
        try:
            if changes:
                self._on_change(changes)
        finally:
            # TOCTOU: only once it is in memory. Earlier, a request would be answered from the old state as if it were current.
            self._current_as_of_s = max(self._current_as_of_s, asked_at_s)

    def _listen_forever(self) -> None:
        is_logged = False
        while not self._ended.is_set():
            try:
                with self._listen_connection.use() as conn:
                    is_logged = False
                    self._listen(conn)
            except (DBAPIError, StoreError) as error:
                if not is_logged and not self._ended.is_set():
                    emit(_log, CHANGE_FEED_UNAVAILABLE, problem=str(error))
                is_logged = True
            except Exception:  # noqa: BLE001 - any failure makes this Server stale until a retry succeeds
                emit(_log, CHANGE_FEED_UNAVAILABLE, level="error", exc_info=True)
            self._ended.wait(_RETRY_AFTER_S)
        self._listen_connection.close()

    def _listen(self, conn: Connection) -> None:
        postgresql.listen(conn, self._channel)
        while not self._ended.is_set():
            self._query(conn)
            self._listened_at_s = _now_s()
            # Denial of service: a flood of notifications must not cause a flood of queries.
            self._ended.wait(REST_AFTER_ASKING_S)
            postgresql.wait_for_notification(conn, at_most_s=_QUERY_EVERY_S)

    def _query_with_retry(self) -> None:
        was_open = self._query_connection.is_open
        try:
            self._query_by_connection()
        except DBAPIError:
            # The connection may have ended since the last query; a new one shows whether the database answers.
            if not was_open:
                raise
            self._query_by_connection()

    def _query_by_connection(self) -> None:
        with self._query_connection.use() as conn:
            self._query(conn)

    def _query(self, conn: Connection) -> None:
        while True:
            asked_at_s = _now_s()
            before = self._position
            news = change_log.read(conn, after=before)
            if news.is_all and before.number:
                emit(_log, CHANGE_FEED_GAP)
            self.apply_received(ReceivedChanges(news, before, asked_at_s))
            # An empty batch means that the end was reached; a full one does not.
            if news.until == before:
                return


def _now_s() -> float:
    """Return the time in seconds of a clock that cannot be set."""
    return time.clock_gettime(_CLOCK)


def _retrieve_exception(query: "asyncio.Future[None]") -> None:
    """Retrieve the exception of a query whose callers are gone, or asyncio would log it."""
    if not query.cancelled():
        query.exception()
