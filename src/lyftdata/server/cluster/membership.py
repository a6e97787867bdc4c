"""
Membership of a Server in a cluster: its heartbeat, the Workers connected to it, and those of its peers.

     servers    one row per Server, with a heartbeat by the database's clock
     presence   one row per connected Worker: where, and which boot

A Worker's *slot* is claimed in the database before its first poll at a Server is held, so that of two boots of one Worker at two
Servers one is refused, as at a single Server. A load balancer may send each poll to another Server: the session then moves, and
continues. Workers of a dead Server are *awaited* for a while: offline, but with their names reserved. Each live Server expects its
share of them, or of all Workers when it starts, and holds polls as long as that number requires.
"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime, timedelta

import msgspec

import lyftdata
from lyftdata.core.errors import TooManyStartsError
from lyftdata.core.log_events.server import LOST_PEERS, PEER_SERVER_DEAD
from lyftdata.core.records import PresenceRecord, PresenceState, ServerRecord, SessionEnd
from lyftdata.core.refusals import DuplicateInstanceError
from lyftdata.core.text import clean_text
from lyftdata.log import emit, get_logger
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Boot, Session, both_hosts
from lyftdata.store import Store, StoreError, WriteTx
from lyftdata.store.change_feed import change_log
from lyftdata.store.tables import presence, servers, spent_assertions, worker_sessions

_log = get_logger(__name__)

DEAD_AFTER = timedelta(seconds=5)
# The agent retries after 30 seconds at most, or 45 if it has just begun a request.
AWAITED_FOR = timedelta(minutes=2)
# A stopping Server looks for its peers this long; without an answer from the database they could not serve its Workers either.
PEERS_FOUND_WITHIN_S = 5.0
_CHANGES_ARE_KEPT_FOR = timedelta(minutes=15)
# A boot that connects here just before another Server notices that the previous one has gone is not a clone.
_ASK_FOR_PLACE_AGAIN_AFTER_S = 0.2
_ASK_FOR_PLACE_TIMES = 6
_MAX_STARTS_AT_ONCE = 16


class WorkerSlot(msgspec.Struct, frozen=True):
    """A Worker's slot: since when its boot is connected (None: now), and whether it comes from another Server."""

    since: datetime | None = None
    moves: bool = False


class TouchedWorkers:
    """
    Workers whose sessions at this Server have broken off or ended, until that is published.

    Args:
        is_shared: Whether there can be peers; if not, nothing is kept.
    """

    def __init__(self, *, is_shared: bool) -> None:
        self._is_shared = is_shared
        self._ids: set[str] = set()

    def add(self, *worker_ids: str) -> None:
        """Record Workers."""
        if self._is_shared:
            self._ids.update(worker_ids)

    def take(self) -> set[str]:
        """Return the IDs recorded since the last call."""
        taken, self._ids = self._ids, set()
        return taken


class Cluster:
    """This Server as a member of the cluster on its database; does nothing if there can be no peers."""

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        touched: TouchedWorkers,
        host: str,
        address: str,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._me = ServerRecord(
            id=store.server_id,
            host=clean_text(host, 64),
            address=address[:64],
            version=lyftdata.__version__[:32],
            started_at=clock(),
            beat_at=clock(),
        )
        self._touched = touched
        self._renewed: set[str] = set()
        self._forgotten: set[str] = set()
        self._taking: Counter[str] = Counter()
        self._in_line: dict[str, asyncio.Lock] = {}
        self._flushing = asyncio.Lock()
        self._is_stale = False
        self._some_awaited_until = clock() + AWAITED_FOR

    async def load_presence(self) -> None:
        """
        Load which Worker is connected to which Server.

        Call it before any change is received: later changes are published, and must not be overwritten by this older state.
        """
        if self._store.is_shared:
            for record in await self._store.read(lambda conn: list(presence.list_all(conn))):
                self.receive_presence(record.worker_id, record)

    async def join(self) -> None:
        """Register this Server, and evict Servers without a heartbeat."""
        if not self._store.is_shared:
            return

        def op(tx: WriteTx) -> int:
            servers.upsert_server(tx, self._me)
            _evict_dead_servers(tx)
            return _places(tx)

        places = await self._store.write(op)
        # Also those that are said to be elsewhere: the balancer sends this one its share again, and a Server that was killed
        # just now has not been given up yet.
        total_workers = await self._store.read(presence.count)
        self._sessions.set_expected_count(math.ceil(total_workers / places))

    async def send_heartbeat(self) -> None:
        """Send a heartbeat, and evict Servers without one; once a second."""
        if not self._store.is_shared:
            return

        may_await = self._clock() < self._some_awaited_until

        def op(tx: WriteTx) -> int:
            if not servers.record_heartbeat(tx, self._me.id):
                # This Server was silent for too long and was evicted: its Workers have moved to peers, or reconnect here.
                servers.upsert_server(tx, self._me)
            has_lost = _evict_dead_servers(tx)
            if not has_lost and not may_await:
                return 0
            return math.ceil(presence.count_awaited(tx.conn) / _places(tx))

        share = await self._store.write(op)
        if share:
            self._sessions.set_expected_count(self._sessions.count_here() + share)

    async def has_live_peers(self, *, besides: Collection[str] = ()) -> bool:
        """
        Return whether another Server is alive now, to which the Workers of this one can go; False if the database does not answer.

        Args:
            besides: IDs of Servers that do not count, since they stop too.
        """
        if not self._store.is_shared:
            return False
        try:
            async with asyncio.timeout(PEERS_FOUND_WITHIN_S):
                live = await self._store.read(lambda conn: servers.list_live(conn, silent_for=DEAD_AFTER))
        except (StoreError, TimeoutError):
            return False
        return bool(live.difference({self._me.id}, besides))

    async def release_polls_if_stale(self) -> None:
        """
        Release held polls while the changes of peers cannot be read; called a few times a second.

        Otherwise a Worker that was revoked at a peer would stay connected here. Its next poll is answered by a Server with current
        state, or by none.
        """
        if self._store.is_current():
            self._is_stale = False
            return
        try:
            await self._store.refresh()
        except StoreError as error:
            if not self._is_stale:
                emit(_log, LOST_PEERS, problem=str(error))
            self._is_stale = True
            self._sessions.release_to_peers()

    async def prune(self) -> None:
        """Delete changes that every Server has read, and records of assertions that have expired."""
        if not self._store.is_shared:
            return

        def op(tx: WriteTx) -> None:
            change_log.prune(tx, older_than=_CHANGES_ARE_KEPT_FOR)
            spent_assertions.prune(tx, self._clock())

        await self._store.write(op)

    async def deregister(self) -> None:
        """Remove this Server from the deployment; its Workers may reconnect to peers."""
        if not self._store.is_shared:
            return

        def op(tx: WriteTx) -> None:
            presence.mark_awaited(tx, self._me.id)
            servers.remove(tx, self._me.id)

        await self._store.write(op)

    async def all_servers(self) -> list[ServerRecord]:
        """Return every Server of the deployment; only this one if there can be no other."""
        if not self._store.is_shared:
            return [msgspec.structs.replace(self._me, beat_at=self._clock())]
        return await self._store.read(servers.all_servers)

    @contextlib.asynccontextmanager
    async def claim_slot(self, worker_id: str, boot: Boot, credential: str) -> AsyncIterator[WorkerSlot]:
        """
        Claim the one slot that a Worker has in the deployment, unless this boot already holds it at this Server.

        The session is attached within the block; otherwise the slot is released.

        Raises:
            DuplicateInstanceError: Another boot of the Worker is connected to another Server.
            TooManyStartsError: More boots at once than any honest Worker has.
        """
        if not self._store.is_shared or self._is_held_here(worker_id, credential):
            yield WorkerSlot()
            return
        if self._taking[worker_id] >= _MAX_STARTS_AT_ONCE:
            raise TooManyStartsError
        self._taking[worker_id] += 1
        try:
            # One at a time: of two concurrent boots the second would get the slot in the database, and be refused here. And a Worker that
            # reconnects endlessly costs only one write at a time.
            async with self._in_line.setdefault(worker_id, asyncio.Lock()):
                if self._is_held_here(worker_id, credential):
                    yield WorkerSlot()
                else:
                    yield await self._take(worker_id, boot, credential)
        finally:
            self._taking[worker_id] -= 1
            if not self._taking[worker_id]:
                del self._taking[worker_id], self._in_line[worker_id]
            if self._sessions.find_here(worker_id) is None:
                self._touched.add(worker_id)

    def _is_held_here(self, worker_id: str, credential: str) -> bool:
        """Return whether a boot of the Worker holds the slot at this Server; record it if its credential differs."""
        here = self._sessions.find_here(worker_id)
        if here is None or here.broken:
            return False
        if here.credential != credential:
            self._renewed.add(worker_id)
        return True

    async def _take(self, worker_id: str, boot: Boot, credential: str) -> WorkerSlot:
        before = self._sessions.find(worker_id)
        moves = before is not None and before.boot.boot_id == boot.boot_id
        since = before.since if before is not None and moves else self._clock()
        record = self._record(worker_id, boot, credential, since)
        holder = record
        for attempt in range(_ASK_FOR_PLACE_TIMES):
            if attempt:
                await asyncio.sleep(_ASK_FOR_PLACE_AGAIN_AFTER_S)
            holder = await self._store.write_batched(_claim_slots, record)
            if holder.boot_id == boot.boot_id:
                return WorkerSlot(holder.since, moves or holder.since != since)
        raise DuplicateInstanceError(both_hosts(_boot_of(holder), boot), claimed_worker=worker_id)

    def _record(self, worker_id: str, boot: Boot, credential: str, since: datetime) -> PresenceRecord:
        return PresenceRecord(
            worker_id=worker_id,
            server_id=self._me.id,
            boot_id=boot.boot_id,
            credential=credential,
            since=since,
            address=boot.address,
            host=boot.host,
            reported_labels=boot.reported_labels,
        )

    async def flush(self) -> None:
        """Publish changes of the sessions here to peers; called a few times a second."""
        async with self._flushing:
            touched = self._touched.take()
            renewed, self._renewed = self._renewed, set()
            forgotten, self._forgotten = self._forgotten, set()
            if not touched and not renewed and not forgotten:
                return
            try:
                await self._store.write(self._publish_sessions(touched, renewed, forgotten))
            except BaseException:
                self._touched.add(*touched)
                self._renewed |= renewed
                self._forgotten |= forgotten
                raise

    def _publish_sessions(
        self, touched: set[str], renewed: set[str], forgotten: set[str]
    ) -> Callable[[WriteTx], None]:
        every = touched | renewed | forgotten
        here = {w: s for w in every if (s := self._sessions.find_here(w)) is not None}
        gone = [w for w in touched if w not in here and not self._taking[w]]
        broken = [w for w in touched if w in here and here[w].broken]
        used = {w: (here[w].credential, here[w].boot.address) for w in renewed if w in here}
        back = [
            self._record(w, here[w].boot, here[w].credential, here[w].since)
            for w in forgotten
            if w in here and not here[w].broken
        ]

        def op(tx: WriteTx) -> None:
            presence.remove(tx, gone, server_id=self._me.id)
            presence.set_state(tx, broken, PresenceState.BROKEN, server_id=self._me.id)
            presence.update_credentials(tx, used, server_id=self._me.id)
            presence.reclaim_slots(tx, back)

        return op

    def receive_presence(self, worker_id: str, record: PresenceRecord | None) -> None:
        """Apply a published change of a Worker's presence."""
        here = self._sessions.find_here(worker_id)
        if (
            record is not None
            and record.server_id == self._me.id
            and here is None
            and self._taking[worker_id]
        ):
            # It is about to be attached here. Until then its session at the other Server counts, or it would be shown as offline.
            return
        if record is not None and record.state is PresenceState.AWAITED:
            self._some_awaited_until = self._clock() + AWAITED_FOR
        if record is None or record.server_id == self._me.id or record.state is PresenceState.AWAITED:
            self._sessions.set_remote_session(worker_id, None)
            if here is not None and not here.broken and not self._matches_local_session(record):
                # Peers declared this Server dead although it is alive, and so is the session: reclaim its slot. Otherwise any other boot could take
                # it after a while, and the Worker's name.
                self._forgotten.add(worker_id)
            return
        before = self._sessions.find(worker_id)
        if here is not None:
            # It has moved to another Server. If it is the same boot, the session has not ended: only its polls go there.
            self._sessions.detach(worker_id, is_over=here.boot.boot_id != record.boot_id)
        session = Session(worker_id, _boot_of(record), record.credential, record.since)
        session.broken = record.state is PresenceState.BROKEN
        if before is not None and before.boot.boot_id == record.boot_id:
            session.follows(before)
        self._sessions.set_remote_session(worker_id, session)

    def _matches_local_session(self, record: PresenceRecord | None) -> bool:
        return (
            record is not None and record.server_id == self._me.id and record.state is PresenceState.CONNECTED
        )


def _claim_slots(tx: WriteTx, records: Sequence[PresenceRecord]) -> list[PresenceRecord]:
    """Claim slots in one batch: concurrent callers share a few statements, as do all Workers that a stopping Server sends here."""
    return presence.claim_slots(tx, records, dead_after=DEAD_AFTER)


def _places(tx: WriteTx) -> int:
    """
    Return the number of Servers that share the Workers.

    A Server that was killed and restarted has two rows, with one host and address, until the old one is evicted.
    """
    return len({(server.host, server.address) for server in servers.all_servers(tx.conn)})


def _evict_dead_servers(tx: WriteTx) -> bool:
    """
    Remove dead Servers, and mark the Workers of Servers that are gone as awaited.

    Returns whether there were any such Workers.
    """
    has_lost = False
    for server_id in servers.list_dead(tx.conn, silent_for=DEAD_AFTER):
        servers.remove(tx, server_id)
        emit(_log, PEER_SERVER_DEAD, server=server_id)
    known = servers.list_live(tx.conn, silent_for=DEAD_AFTER)
    for server_id in presence.servers_named(tx.conn) - known:
        lost = presence.mark_awaited(tx, server_id)
        has_lost = has_lost or bool(lost)
        worker_sessions.close_open(tx, end=SessionEnd.SERVER_CRASHED, worker_ids=lost)
    presence.expire_awaited(tx, after=AWAITED_FOR)
    return has_lost


def _boot_of(record: PresenceRecord) -> Boot:
    return Boot(
        boot_id=record.boot_id,
        host=record.host,
        reported_labels=record.reported_labels,
        address=record.address,
    )
