"""
Reads what other Servers on the same database have changed.

A separate thread holds a connection on which the database notifies of changes (LISTEN), and also polls a few times a
second (PgBouncer in transaction mode passes no notifications). What was changed is handed to the event loop in the order of the
commits, what this Server has written among it.

A Server that has not read changes for a moment does not trust what it holds in memory: `hears` says so, and `catch_up` asks at
once by another connection, before anything is decided. If that fails as well, nothing is decided (StoreError).
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

# One that goes on while the host sleeps (Linux): woken after an hour, what was read before is an hour old.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# A revocation at one Server must take effect at all within a second: what was read is trusted for a part of that.
_TRUSTED_FOR_S = 0.7
_ASK_EVERY_S = 0.2
REST_AFTER_ASKING_S = 0.01
_TRY_AGAIN_AFTER_S = 0.25
_ANSWER_WITHIN_S = 2.0
_LISTENS_WITHIN_S = 5.0


def channel_of(key: bytes) -> str:
    """
    Return the name of the channel on which Servers that have the same key notify each other.

    Any role may notify any channel of the database: one whose name is not known is left alone.
    """
    return f"lyftdata_{hmac.digest(key, b'notification channel', 'sha256')[:16].hex()}"


class Heard(msgspec.Struct, frozen=True):
    """What was read of changes, from which row on, and as of when."""

    news: change_log.ChangeBatch
    before: change_log.Cursor
    asked_at_s: float


class ChangeFeed:
    """
    Follows the changes in a database from a position on.

    Args:
        engine: The database.
        server_id: Who listens.
        channel: On which the Servers notify each other.
        position: The last change that is in what was loaded.
        on_change: Called in the event loop with what was changed.
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
        self._asking_line = postgresql.line_for_asking(engine)
        self._listening_line = postgresql.line_for_listening(engine)
        self._listened_at_s = _now_s()
        self._position = position
        self._on_change = on_change
        self._mutex = threading.Lock()
        self._heard_at_s = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking: asyncio.Future[None] | None = None
        self._asking_next: asyncio.Future[None] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen_forever, name="store-hearing", daemon=True)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand on what is changed from here on, in this event loop."""
        self._loop = loop
        self._thread.start()

    def has_begun(self) -> bool:
        """Return whether changes are handed on from here."""
        return self._loop is not None

    def end(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._asking_line.abort()
        self._listening_line.abort()
        if self._thread.ident is not None:
            self._thread.join()
        if self._asking is None or self._asking.done():
            self._asking_line.close()

    def hears(self) -> bool:
        """Return whether what is held in memory may be trusted: changes of peers were read just now."""
        return _now_s() - self._heard_at_s < _TRUSTED_FOR_S

    async def catch_up(self, *, full: bool = False) -> None:
        """
        Ask for changes now; a caller that asks meanwhile shares the answer.

        Args:
            full: Whether the question must begin after this call: what was changed before it is then in memory.

        Raises:
            StoreError: The database did not answer.
        """
        if _now_s() - self._listened_at_s > _LISTENS_WITHIN_S:
            self._listened_at_s = _now_s()
            self._listening_line.abort()
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await asyncio.shield(self._next_question() if full else self._question())
        except TimeoutError:
            # The next caller asks again instead of waiting for an answer that never comes.
            self._asking_line.abort()
            raise StoreError("The database does not answer.") from None
        except DBAPIError as error:
            raise StoreError(f"The database failed: {problem_of(error)}.") from error

    def _question(self) -> "asyncio.Future[None]":
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._ask_once))
            self._asking.add_done_callback(_look_at)
        return self._asking

    def _next_question(self) -> "asyncio.Future[None]":
        """Return the question that is asked after the one under way, one for all who want it."""
        if self._asking is None or self._asking.done():
            return self._question()
        if self._asking_next is None or self._asking_next.done():
            self._asking_next = asyncio.ensure_future(self._ask_after(self._asking))
            self._asking_next.add_done_callback(_look_at)
        return self._asking_next

    async def _ask_after(self, other: "asyncio.Future[None]") -> None:
        await asyncio.wait([other])
        # From here on a caller that needs a new answer must wait for the one after this.
        self._asking_next = None
        await asyncio.shield(self._question())

    def write_down(self, conn: Connection, changes: Sequence[Change]) -> Heard:
        """
        Tell the others what a transaction changes, if anything, and look what they have changed before; in the writer's turn.

        Returns:
            What is to be taken over once it is committed.
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
        return Heard(news, before, asked_at_s)

    def take_over(self, heard: Heard) -> None:
        """
        Hand on what was changed up to a number, unless that was done already; from any thread.

        Whatever reaches further was read later, and so is never older than what was handed on before it. What was read
        because the row was gone at which this Server stood counts for as long as it stands there: the numbers may have
        fallen.
        """
        loop, news = self._loop, heard.news
        if loop is None:
            return
        with self._mutex:
            reaches_further = news.until.number > self._position.number
            if news.is_all and not reaches_further and self._position != heard.before:
                return
            changes: list[Change] = []
            if reaches_further or news.is_all:
                # What two concurrent queries have read is handed on once.
                reached = self._position.number
                broadcasts = [each for number, each in news.broadcasts if news.is_all or number > reached]
                changes = [*news.changes, *broadcasts]
                self._position = news.until
            try:
                loop.call_soon_threadsafe(self._hand_on, changes, heard.asked_at_s)
            except RuntimeError:
                # The loop was closed: there is no reader left.
                self._ended.set()

    def _hand_on(self, changes: Sequence[Change], asked_at_s: float) -> None:
        try:
            if changes:
                self._on_change(changes)
        finally:
            # Not before it is in memory: until then a request would be answered from what was.
            self._heard_at_s = max(self._heard_at_s, asked_at_s)

    def _listen_forever(self) -> None:
        is_told = False
        while not self._ended.is_set():
            try:
                with self._listening_line.use() as conn:
                    is_told = False
                    self._listen(conn)
            except (DBAPIError, StoreError) as error:
                if not is_told and not self._ended.is_set():
                    emit(_log, CHANGE_FEED_UNAVAILABLE, problem=str(error))
                is_told = True
            except Exception:  # noqa: BLE001 - whatever it was: a Server that reads nothing trusts nothing, and tries again
                emit(_log, CHANGE_FEED_UNAVAILABLE, level="error", exc_info=True)
            self._ended.wait(_TRY_AGAIN_AFTER_S)
        self._listening_line.close()

    def _listen(self, conn: Connection) -> None:
        postgresql.listen(conn, self._channel)
        while not self._ended.is_set():
            self._ask(conn)
            self._listened_at_s = _now_s()
            # A flood of notifications makes no flood of questions.
            self._ended.wait(REST_AFTER_ASKING_S)
            postgresql.wait_until_told(conn, at_most_s=_ASK_EVERY_S)

    def _ask_once(self) -> None:
        was_open = self._asking_line.is_open
        try:
            self._ask_by_line()
        except DBAPIError:
            # The connection may have ended since the last question; a new one tells whether the database answers.
            if not was_open:
                raise
            self._ask_by_line()

    def _ask_by_line(self) -> None:
        with self._asking_line.use() as conn:
            self._ask(conn)

    def _ask(self, conn: Connection) -> None:
        while True:
            asked_at_s = _now_s()
            before = self._position
            news = change_log.read(conn, after=before)
            if news.is_all and before.number:
                emit(_log, CHANGE_FEED_GAP)
            self.take_over(Heard(news, before, asked_at_s))
            # A look that finds nothing has come to the end; one that is full has not.
            if news.until == before:
                return


def _now_s() -> float:
    """Return seconds on a monotonic clock."""
    return time.clock_gettime(_CLOCK)


def _look_at(asking: "asyncio.Future[None]") -> None:
    """Take note of a failure that no caller waits for any more."""
    if not asking.cancelled():
        asking.exception()
