"""Builds the sessions, their history, and membership in the cluster."""

import socket

import msgspec

from lyftdata.core.records import SessionEnd
from lyftdata.server.admin.decision_log import DecisionLog
from lyftdata.server.admission.returning import ReturningWorkers
from lyftdata.server.cluster.membership import Cluster, TouchedWorkers
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.streams.events import Events
from lyftdata.store.tables import (
    activity,
    worker_sessions,
)


class SessionParts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that know which Workers are connected."""

    sessions: Sessions
    session_log: SessionLog
    cluster: Cluster
    traces: ActivityLog
    returning: ReturningWorkers
    events: Events
    decisions: DecisionLog | None


def _address(settings: ServerSettings) -> str:
    """Return where this Server listens; one of several processes at one address with its number."""
    address = str(settings.bind_address)
    return address if settings.process is None else f"{address} #{settings.process}"


async def build_sessions(basis: Basis) -> SessionParts:
    """End the sessions that a crash left open in the database, and build the parts."""
    store, clock = basis.store, basis.clock
    # From the current end of the log: what startup itself does is logged.
    decisions = DecisionLog(store, after=store.audit_length) if basis.settings.log_decisions else None
    session_log = SessionLog(store=store, clock=clock)
    touched = TouchedWorkers(is_shared=store.is_shared)
    traces = ActivityLog(store=store, seen=await store.read_tables(activity.all_seen_ids), clock=clock)
    returning = ReturningWorkers(clock)
    events = Events()
    handlers = basis.part_types.session_handlers(
        session_log=session_log,
        decisions=decisions,
        touched=touched,
        activity=traces,
        returning=returning,
        events=events,
        clock=clock,
    )
    sessions = basis.part_types.sessions(now=clock, handlers=handlers)
    if not store.is_shared:
        await store.write(lambda tx: worker_sessions.close_open(tx, end=SessionEnd.SERVER_CRASHED))
        sessions.set_expected_count(await store.read(worker_sessions.count_disconnected_at_stop))
    cluster = Cluster(
        store=store,
        sessions=sessions,
        touched=touched,
        host=socket.gethostname(),
        address=_address(basis.settings),
        clock=clock,
    )
    return SessionParts(
        sessions=sessions,
        session_log=session_log,
        cluster=cluster,
        traces=traces,
        returning=returning,
        events=events,
        decisions=decisions,
    )
