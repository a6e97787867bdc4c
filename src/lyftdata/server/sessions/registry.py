"""
The sessions of connected Workers.

A Worker is *connected* while it keeps a long poll open at the Server. The states of one session:

    (none) --first poll of a boot id--> between polls --poll--> polling --answer--> between polls
    polling --the peer closes---------> broken off  --grace--> (none)
    between polls --grace-------------> (none)
    any --sign-off, stop directive----> (none), at once

*Online* is every state but (none). The Worker's *slot* (one live boot ID per Worker) is held while polling and between
polls, not when broken off: a crashed process is not a clone, since its poll has closed. Between two polls the Server cannot
tell: another boot of the Worker waits until it can.

     await sessions.wait_for_previous_boot(worker_id, ...)  # until it is known whether another boot is alive
     session = sessions.attach(worker, ...)      # raises DuplicateInstanceError
     reply = await sessions.wait(session)        # until a directive, the end of the hold, or the peer closes
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain
from typing import ParamSpec

from lyftdata.core.log_events.server import SESSION_HANDLER_FAILED
from lyftdata.core.records import SessionEnd, WorkerRecord
from lyftdata.core.refusals import DuplicateInstanceError
from lyftdata.log import emit, get_logger
from lyftdata.server.sessions.handlers import SessionHandlers
from lyftdata.server.sessions.hold_time import HoldTime
from lyftdata.server.sessions.poll_deadlines import PollDeadlines
from lyftdata.server.sessions.session import RENEW, Boot, Directive, PollEnd, Session, both_hosts, key_of
from lyftdata.server.sessions.slot_queue import SlotQueue

_log = get_logger(__name__)

P = ParamSpec("P")

# A Worker polls again right after an answer; this is how long the network may take before it counts as gone.
GRACE_AFTER_ANSWER_S = 10.0
# After an interrupted poll the Worker may be back in a moment (a proxy's reload): avoids flicker in the list.
GRACE_AFTER_BREAK_S = 3.0
_NEW_TOKEN = Directive(kind="renew", reason="The Server's signing keys have changed.")


class Sessions:
    """
    Every connected Worker, at this Server and at its peers.

    Args:
        now: Aware UTC time.
        handlers: Called when Workers connect and disconnect.
    """

    def __init__(self, *, now: Callable[[], datetime], handlers: SessionHandlers | None = None) -> None:
        self._by_worker: dict[str, Session] = {}
        self._elsewhere: dict[str, Session] = {}
        self._handlers = handlers or SessionHandlers()
        self._now = now
        self._stopping = False
        self._moving = False
        # Workers that were asked to poll again, at another Server.
        self._sent_to_peers: set[str] = set()
        self._stop_began = asyncio.Event()
        self._ends = PollDeadlines()
        self._hold_time = HoldTime(now)
        self._slots = SlotQueue()
        # By Worker, the boot ID whose poll was last held here; a session may move away and come back.
        self._has_been_held: dict[str, str] = {}
        # By Worker, the token that it was asked to renew because of what the token says.
        self._asked_to_renew: dict[str, str] = {}

    def online_count(self) -> int:
        """Return how many Workers are connected to any Server."""
        return len(self._by_worker) + len(self._elsewhere)

    def count_here(self) -> int:
        """Return how many Workers are connected to this Server."""
        return len(self._by_worker)

    def find(self, worker_id: str) -> Session | None:
        """Return the session of a Worker at any Server, or None if it is not connected."""
        return self._by_worker.get(worker_id) or self._elsewhere.get(worker_id)

    def find_here(self, worker_id: str) -> Session | None:
        """Return the session of a Worker at this Server, or None."""
        return self._by_worker.get(worker_id)

    def is_online(self, worker_id: str) -> bool:
        """Return whether a Worker is connected to any Server; callable from any thread."""
        return worker_id in self._by_worker or worker_id in self._elsewhere

    def online_ids(self) -> list[str]:
        """Return the IDs of all connected Workers."""
        return [*self._by_worker, *self._elsewhere]

    def online_with_key(self, public_id: str) -> list[str]:
        """Return the IDs of the Workers now connected with this API key."""
        wanted = ("key", public_id)
        return [s.worker_id for s in self._all_sessions() if key_of(s) == wanted]

    def online_by_key(self) -> dict[str, list[str]]:
        """Return the IDs of the Workers now connected, by the public ID of their API key."""
        found: dict[str, list[str]] = {}
        for session in self._all_sessions():
            kind, value = key_of(session)
            if kind == "key":
                found.setdefault(value, []).append(session.worker_id)
        return found

    def set_remote_session(self, worker_id: str, session: Session | None) -> None:
        """Record that a Worker is connected to another Server, or to none of them."""
        was_online = self.is_online(worker_id)
        if session is not None:
            self._elsewhere[worker_id] = session
        else:
            self._elsewhere.pop(worker_id, None)
            if worker_id not in self._by_worker:
                self._has_been_held.pop(worker_id, None)
                self._asked_to_renew.pop(worker_id, None)
                self._slots.free(worker_id)
        if self.is_online(worker_id) is not was_online:
            self._presence_changed(worker_id)

    def detach(self, worker_id: str, *, is_over: bool) -> None:
        """Drop a session whose Worker has moved to another Server; `is_over` if it is another boot that is connected there."""
        session = self._by_worker.pop(worker_id)
        self._end_grace(session)
        if session.poll is not None:
            _settle(session.poll, PollEnd.REPLACED)
        if is_over:
            _notify(self._handlers.ended, session, SessionEnd.STARTED_AGAIN)

    def _presence_changed(self, worker_id: str) -> None:
        _notify(self._handlers.presence_changed, worker_id, is_online=self.is_online(worker_id))

    def _all_sessions(self) -> Iterator[Session]:
        return chain(self._by_worker.values(), self._elsewhere.values())

    async def wait_until_stopping(self, *, within_s: float) -> None:
        """Return when this Server begins to stop, or after `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_began.wait(), within_s)

    def hold_s(self) -> float:
        """Return the current hold time of polls in seconds; it grows with the number of Workers, which bounds the rate of polls."""
        return self._hold_time.seconds(len(self._by_worker))

    def set_expected_count(self, count: int) -> None:
        """
        Expect this many Workers here in the next minutes, unless more are expected already.

        If the hold time only counted Workers that are already back, the first ones would poll far too often.
        """
        self._hold_time.set_expected_count(count)

    def begin_hold(self, session: Session) -> bool:
        """
        Record that a poll of a session is held; return whether it is the first one of its boot at this Server.

        Workers that arrive together (after a restart, from a failed Server, through a reloaded proxy) must not stay in
        step. If a load balancer alternates between Servers, a session has one first poll at each.
        """
        is_first = self._has_been_held.get(session.worker_id) != session.boot.boot_id
        self._has_been_held[session.worker_id] = session.boot.boot_id
        return is_first

    async def wait_for_previous_boot(self, worker_id: str, boot_id: str) -> None:
        """
        Wait until it is known whether another boot of a Worker is still alive: at most the grace period between polls.

        A live one polls again within a moment. Without the wait, one that was killed just after an answer would cause its own
        next boot to be refused as a clone.
        """
        session = self._by_worker.get(worker_id)
        if session is not None and session.boot.boot_id != boot_id and session.is_between_polls():
            session.known = session.known or asyncio.Event()
            await session.known.wait()

    async def wait_for_slot(
        self,
        worker_id: str,
        boot_id: str,
        *,
        within_s: float,
        watch_peer: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> bool:
        """
        Wait until no other boot of a Worker holds its slot: it has signed off, was stopped, or is lost.

        So the replacement of a program is connected as soon as the old one has gone, without retrying. If the slot is still held
        at the end, `attach` refuses as usual.

        Args:
            worker_id: Whose slot it is.
            boot_id: The boot that waits.
            within_s: Seconds.
            watch_peer: As for `wait`.

        Returns:
            False if the peer has closed its connection: it must not be attached.
        """
        if not self._is_held_by_another(worker_id, boot_id):
            return True
        return await self._slots.wait(worker_id, within_s=within_s, watch_peer=watch_peer)

    def _is_held_by_another(self, worker_id: str, boot_id: str) -> bool:
        session = self.find(worker_id)
        is_another = session is not None and session.boot.boot_id != boot_id and session.holds_slot()
        return is_another and not self._stopping

    def attach(
        self, worker: WorkerRecord, boot: Boot, credential: str, *, since: datetime | None = None
    ) -> tuple[Session, bool]:
        """
        Find or create the session of a poll.

        Args:
            worker: Whose poll it is.
            boot: Which start of its program.
            credential: The credential with which it authenticated.
            since: The time since which this boot has been connected; now by default.

        Returns:
            The session, and whether it is new: the first poll of a new one is answered at once, so that the Worker knows.

        Raises:
            DuplicateInstanceError: Another boot of the same Worker holds the slot.
        """
        session = self._by_worker.get(worker.id)
        if session is not None and session.boot.boot_id == boot.boot_id:
            session.polled_from(boot)
            session.credential = credential
            return session, False
        if session is not None and session.holds_slot():
            raise DuplicateInstanceError(both_hosts(session.boot, boot), claimed_worker=worker.id)
        if session is not None:
            self._end_grace(session)
            _notify(self._handlers.ended, session, SessionEnd.STARTED_AGAIN)
        was_online = self.is_online(worker.id)
        fresh = Session(worker.id, boot, credential, since or self._now())
        self._by_worker[worker.id] = fresh
        remote = self._elsewhere.pop(worker.id, None)
        if remote is not None and remote.boot.boot_id == boot.boot_id:
            fresh.has_moved = True
            fresh.follows(remote)
        self._start_grace(fresh, GRACE_AFTER_ANSWER_S)
        _notify(self._handlers.session_started, fresh)
        if not was_online:
            self._presence_changed(worker.id)
        return fresh, True

    async def wait(
        self,
        session: Session,
        *,
        hold_s: float,
        watch_peer: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> Directive | PollEnd:
        """
        Hold a poll until there is a directive, `hold_s` seconds have nearly passed, or the peer has gone.

        Args:
            session: Returned by `attach`.
            hold_s: Seconds; the caller keeps it within the remaining lifetime of the token. Shortened if too many polls end in that second.
            watch_peer: Takes a function to call when the peer closes its connection; returns a function that ends the watch.
        """
        self._end_grace(session)
        session.broken = False
        if session.poll is not None and not session.poll.done():
            session.poll.set_result(PollEnd.REPLACED)
        if session.queued:
            return self._answered(session, session.queued.pop(0))
        loop = asyncio.get_running_loop()
        poll: asyncio.Future[Directive | PollEnd] = loop.create_future()
        session.poll = poll
        if self._stopping:
            poll.set_result(PollEnd.STOPPING)
        elif self._moving:
            poll.set_result(self._send_to_peers(session))
        second, ends_after_s = self._ends.take(loop.time(), hold_s)
        timer = loop.call_later(ends_after_s, _settle, poll, PollEnd.HELD)
        unwatch = watch_peer(partial(_settle, poll, PollEnd.PEER_CLOSED))
        try:
            return self._ended(session, poll, await poll)
        finally:
            timer.cancel()
            unwatch()
            self._ends.release(second)

    def _ended(
        self, session: Session, poll: "asyncio.Future[Directive | PollEnd]", outcome: Directive | PollEnd
    ) -> Directive | PollEnd:
        if session.poll is not poll or self._by_worker.get(session.worker_id) is not session:
            return outcome
        if outcome is PollEnd.PEER_CLOSED:
            session.poll = None
            session.broken = True
            self._has_been_held.pop(session.worker_id, None)
            self._start_grace(session, GRACE_AFTER_BREAK_S)
            self._slots.free(session.worker_id)
            _notify(self._handlers.session_broken, session)
            return outcome
        return self._answered(session, outcome)

    def _answered(self, session: Session, outcome: Directive | PollEnd) -> Directive | PollEnd:
        session.poll = None
        if self._by_worker.get(session.worker_id) is session:
            self._start_grace(session, GRACE_AFTER_ANSWER_S)
        return outcome

    def sign_off(self, worker_id: str, boot_id: str) -> None:
        """End a session because its Worker signs off; a sign-off of another boot ID changes nothing."""
        session = self._by_worker.get(worker_id)
        if session is not None and session.boot.boot_id == boot_id:
            self._end(session, PollEnd.REPLACED, SessionEnd.SIGNED_OFF)

    def stop(self, worker_id: str, directive: Directive) -> bool:
        """End a session because the Server says so: the Worker gets the reason if its poll is held, and is offline at once."""
        session = self._by_worker.get(worker_id)
        if session is None:
            return False
        self._end(session, directive, directive.code)
        return True

    def send_directive(self, worker_id: str, directive: Directive) -> None:
        """Send a directive to a connected Worker, now or with its next poll."""
        session = self._by_worker.get(worker_id)
        if session is None:
            return
        if session.poll is not None and not session.poll.done():
            session.poll.set_result(directive)
        elif directive not in session.queued:
            session.queued.append(directive)

    def ask_to_renew(self, worker_id: str, token_id: str) -> None:
        """
        Make a Worker get a new token, because its current one names it differently; once for each token.

        A client that does not understand the directive must not be answered at once again and again.
        """
        if self._asked_to_renew.get(worker_id) != token_id:
            self._asked_to_renew[worker_id] = token_id
            self.send_directive(worker_id, RENEW)

    def ask_to_poll_again(self, worker_id: str) -> None:
        """Answer the held poll of a Worker here, if there is one, so that it polls again at once, possibly from another network."""
        session = self._by_worker.get(worker_id)
        if session is not None and session.poll is not None:
            _settle(session.poll, PollEnd.HELD)

    def renew_all(self) -> None:
        """Make every Worker connected here get a new token: its current one may no longer be valid."""
        for worker_id in list(self._by_worker):
            self.send_directive(worker_id, _NEW_TOKEN)

    def move_to_peers(self) -> None:
        """
        Answer all held and future polls so that the Workers poll again, at another Server. No session ends here.

        Its Worker's poll there moves it, as whenever a load balancer sends a poll to another Server.
        """
        self._moving = True
        self._stop_began.set()
        for session in self._by_worker.values():
            if session.poll is not None:
                _settle(session.poll, self._send_to_peers(session))

    def _send_to_peers(self, session: Session) -> PollEnd:
        """
        Return how to end the poll of a Worker that must go to another Server.

        The first is answered as if its hold time were over. A Worker that comes back here is behind a proxy that does not know that this
        Server stops: 503 makes the proxy try another one.
        """
        if session.worker_id in self._sent_to_peers:
            return PollEnd.STOPPING
        self._sent_to_peers.add(session.worker_id)
        return PollEnd.MOVED

    def release_all(self) -> None:
        """Answer every held poll because this Server stops; the Workers reconnect to it or to another. Repeating it does nothing."""
        if self._stopping:
            return
        self._stopping = True
        self._stop_began.set()
        for session in self._by_worker.values():
            self._end_grace(session)
            if session.poll is not None:
                _settle(session.poll, PollEnd.STOPPING)
            _notify(self._handlers.ended, session, SessionEnd.SERVER_STOPPED)
        self._slots.free_all()

    def release_to_peers(self) -> None:
        """Answer every held poll with 503 because the state here is stale: a peer may be current. No session ends."""
        self._has_been_held.clear()
        for session in self._by_worker.values():
            if session.poll is not None:
                _settle(session.poll, PollEnd.STOPPING)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_worker.values()))

    def _end(self, session: Session, outcome: Directive | PollEnd, why: str) -> None:
        # The session ends first; handlers are called afterwards.
        self._end_grace(session)
        del self._by_worker[session.worker_id]
        self._has_been_held.pop(session.worker_id, None)
        self._asked_to_renew.pop(session.worker_id, None)
        if session.poll is not None:
            _settle(session.poll, outcome)
        self._slots.free(session.worker_id)
        _notify(self._handlers.ended, session, why)
        self._presence_changed(session.worker_id)

    def _start_grace(self, session: Session, seconds: float) -> None:
        self._end_grace(session)
        if not self._stopping:
            session.timer = asyncio.get_running_loop().call_later(seconds, self._expire, session)

    def _expire(self, session: Session) -> None:
        if self._by_worker.get(session.worker_id) is session:
            self._end(session, PollEnd.HELD, SessionEnd.LOST)

    def _end_grace(self, session: Session) -> None:
        if session.timer is not None:
            session.timer.cancel()
            session.timer = None
        if session.known is not None:
            session.known.set()
            session.known = None


def _notify(handler: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a handler; its failure must not keep a session from beginning or ending, nor the next handler from being called."""
    try:
        handler(*args, **kwargs)
    except Exception:  # noqa: BLE001
        emit(_log, SESSION_HANDLER_FAILED, exc_info=True, handler=getattr(handler, "__name__", ""))


def _settle(poll: "asyncio.Future[Directive | PollEnd]", outcome: Directive | PollEnd) -> None:
    if not poll.done():
        poll.set_result(outcome)
