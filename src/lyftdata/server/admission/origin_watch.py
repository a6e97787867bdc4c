"""
Detects token requests from a network other than the one from which the Worker is connected.

A copied key that is only used to get tokens would otherwise go unnoticed: it opens no session, and so conflicts with no other boot of
the Worker. But a Worker that has moved also requests a token from its new address before it polls from there, while its previous
connection may still look alive. So a request from elsewhere is at first a suspicion:

     token from network B, session polls from A    -> suspicion; a held poll is answered, so that the Worker polls again
     the same boot polls from A                    -> two hosts, or one host with two networks: alarm
     the Worker polls from B                       -> it has moved: dropped
     no poll within ten minutes, or another boot   -> dropped: there is no live session to compare with

Suspicions are shared with all Servers of a deployment, since the Worker may poll at any of them.
"""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from lyftdata.core.log_events.server import TOKEN_FROM_ANOTHER_NETWORK
from lyftdata.core.networks import NetworkGroup, network_of_host
from lyftdata.core.structs import prepare_structs
from lyftdata.log import emit, get_logger
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session
from lyftdata.server.streams.events import Event, Events
from lyftdata.store import Store
from lyftdata.store.changes import Broadcast

_log = get_logger(__name__)

_TOPIC = "token_from_another_network"
_DROP_AFTER = timedelta(minutes=10)
_ALARM_AGAIN_AFTER = timedelta(minutes=10)
_MAX_SUSPICIONS = 10_000
_MAX_OF_A_WORKER = 8
_MAX_AT_ONCE = 200


class Suspicion(msgspec.Struct, frozen=True):
    """A token issued while the Worker was connected from another network, as far as is known."""

    worker_id: str
    boot_id: str
    address: str
    credential: str
    audience: str
    at: datetime


prepare_structs(Suspicion)


class OriginWatch:
    """
    Holds suspicions until the Worker's next poll decides them.

    Args:
        origins: Records alarms.
        sessions: Which Workers are connected, and from where.
        own_networks: Networks that count as one.
        events: Updates the live pages.
        store: Publishes suspicions to peers.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        origins: TokenOrigins,
        sessions: Sessions,
        own_networks: NetworkGroup,
        events: Events,
        store: Store,
        clock: Clock,
    ) -> None:
        self._origins = origins
        self._sessions = sessions
        self._own_networks = own_networks
        self._events = events
        self._store = store
        self._clock = clock
        self._suspicions: OrderedDict[str, dict[str, Suspicion]] = OrderedDict()
        self._alarmed: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._unpublished: list[Suspicion] = []

    def token_given(
        self, worker_id: str, *, address: str, credential: str, audience: str, at: datetime
    ) -> None:
        """Compare the network of a token request with that of the Worker's connection."""
        session = self._sessions.find(worker_id)
        # The usual case costs one string comparison.
        if session is None or session.boot.address == address or self._may_come_from(session, address):
            return
        alarmed_at = self._alarmed.get((worker_id, network_of_host(address)))
        if alarmed_at is not None and at - alarmed_at < _ALARM_AGAIN_AFTER:
            return
        suspicion = Suspicion(worker_id, session.boot.boot_id, address, credential, audience, at)
        if self._add(suspicion) and self._store.is_shared and len(self._unpublished) < _MAX_AT_ONCE:
            self._unpublished.append(suspicion)

    def worker_polled(self, session: Session) -> None:
        """Decide the suspicions about a Worker that has just polled."""
        if not self._suspicions or session.worker_id not in self._suspicions:
            return
        for suspicion in self._suspicions.pop(session.worker_id).values():
            is_same_start = suspicion.boot_id == session.boot.boot_id
            is_recent = self._clock() - suspicion.at < _DROP_AFTER
            if is_same_start and is_recent and not self._may_come_from(session, suspicion.address):
                self._alarm(suspicion, session)

    async def flush(self) -> None:
        """Publish new suspicions to peers; called a few times a second."""
        unpublished, self._unpublished = self._unpublished, []
        if unpublished:
            body = {"by": self._store.server_id, "suspicions": msgspec.to_builtins(unpublished)}
            await self._store.write(lambda tx: tx.changed(Broadcast(_TOPIC, body)))

    def receive(self, topic: str, body: Mapping[str, Any]) -> None:
        """Add suspicions published by a peer."""
        if topic == _TOPIC and body.get("by") != self._store.server_id:
            for suspicion in msgspec.convert(body["suspicions"], list[Suspicion]):
                self._add(suspicion)

    def _add(self, suspicion: Suspicion) -> bool:
        """Hold a suspicion and make the Worker poll again; return False if it is already held."""
        # Those that are too old to raise an alarm must not keep a new one out: if the Worker polls at a peer, no poll here removes them.
        of_worker = {
            network: held
            for network, held in self._suspicions.get(suspicion.worker_id, {}).items()
            if suspicion.at - held.at < _DROP_AFTER
        }
        self._suspicions[suspicion.worker_id] = of_worker
        self._suspicions.move_to_end(suspicion.worker_id)
        network = network_of_host(suspicion.address)
        if network in of_worker or len(of_worker) >= _MAX_OF_A_WORKER:
            return False
        of_worker[network] = suspicion
        # Memory exhaustion: bounded, no matter how many Workers' keys a caller has.
        if len(self._suspicions) > _MAX_SUSPICIONS:
            self._suspicions.popitem(last=False)
        self._sessions.ask_to_poll_again(suspicion.worker_id)
        return True

    def _may_come_from(self, session: Session, address: str) -> bool:
        """Return whether a session comes from this address' network, or did earlier."""
        return network_of_host(address) in session.earlier_networks or self._own_networks.is_same(
            session.boot.address, address
        )

    def _alarm(self, suspicion: Suspicion, session: Session) -> None:
        found = {
            "worker_id": suspicion.worker_id,
            "address": suspicion.address,
            "credential": suspicion.credential,
            "audience": suspicion.audience,
        }
        self._remember_alarm(suspicion)
        self._origins.mark_elsewhere(**found, at=suspicion.at, session_address=session.boot.address)
        emit(
            _log,
            TOKEN_FROM_ANOTHER_NETWORK,
            worker=suspicion.worker_id,
            address=suspicion.address,
            session_address=session.boot.address,
            credential=suspicion.credential,
            audience=suspicion.audience,
        )
        self._events.publish(Event("worker", suspicion.worker_id))

    def _remember_alarm(self, suspicion: Suspicion) -> None:
        self._alarmed[suspicion.worker_id, network_of_host(suspicion.address)] = suspicion.at
        if len(self._alarmed) > _MAX_SUSPICIONS:
            self._alarmed.popitem(last=False)
