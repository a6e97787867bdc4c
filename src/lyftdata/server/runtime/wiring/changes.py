"""Builds the handlers of committed changes, of this Server and of its peers."""

from lyftdata.server.cluster.change_applier import ChangeApplier, ClusterHandlers
from lyftdata.server.cluster.shared_logins import PeerLogins
from lyftdata.server.runtime.background import DetachedTasks
from lyftdata.server.runtime.services import Services


def build_change_applier(services: Services, detached: DetachedTasks) -> ChangeApplier:
    """Build the applier of committed changes, with a handler for each kind of change by peers."""

    def load_signing_keys() -> None:
        services.signing_keys.note_change()
        detached.start(services.signing_keys.catch_up())

    return ChangeApplier(
        directory=services.directory,
        sessions=services.sessions,
        refusals=services.refusals,
        traces=services.traces,
        token_origins=services.token_origins,
        token_counts=services.token_counts,
        counters=services.admission.counters,
        held_requests=services.held_requests,
        events=services.events,
        cluster=ClusterHandlers(
            presence=services.cluster.receive_presence,
            signing_keys=load_signing_keys,
            broadcast=(
                services.limits.receive,
                services.origin_watch.receive,
                PeerLogins(brokers=services.brokers, own_id=services.store.server_id).receive,
            ),
            missed=services.brokers.note_lost_logins,
        ),
        clock=services.clock,
    )
