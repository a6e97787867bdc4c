"""Builds the parts that deliver events of the audit log to other systems."""

import ipaddress
import random
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

from lyftdata.core.records import Transport
from lyftdata.server.admin.event_destination_queries import EventDestinationQueries
from lyftdata.server.admin.event_destinations import EventDestinations
from lyftdata.server.cluster.membership import DEAD_AFTER
from lyftdata.server.delivery.addresses import AllowedAddresses
from lyftdata.server.delivery.event_delivery import EventDelivery
from lyftdata.server.delivery.files import FileSender
from lyftdata.server.delivery.syslog import SyslogSender
from lyftdata.server.delivery.tls import TlsContexts
from lyftdata.server.delivery.webhooks import WebhookSender
from lyftdata.server.runtime.secret_keys import kek_of
from lyftdata.server.runtime.wiring.admission import AdmissionParts
from lyftdata.server.runtime.wiring.basis import Basis

# Separate threads: a receiver that does not answer must not delay password checks or database reads.
_THREADS = 8


class EventParts(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases of event destinations, their read model, and the delivery."""

    event_destinations: EventDestinations
    queries: EventDestinationQueries
    event_delivery: EventDelivery


def build_events(basis: Basis, admission: AdmissionParts) -> EventParts:
    """Build the senders, and the parts that use them."""
    settings, store, clock, kek = basis.settings, basis.store, basis.clock, kek_of(basis.secret_key)
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="events")
    allowed = [ipaddress.ip_network(network) for network in settings.events_allowed_networks]
    addresses = AllowedAddresses(allowed, threads=threads)
    contexts = TlsContexts(threads)
    hostname = urlsplit(basis.issuer).hostname or "-"
    delivery = EventDelivery(
        store=store,
        find_worker=admission.directory.find_worker,
        kek=kek,
        source=basis.issuer,
        senders={
            Transport.WEBHOOK: WebhookSender(addresses=addresses, contexts=contexts, clock=clock),
            Transport.SYSLOG: SyslogSender(
                addresses=addresses, contexts=contexts, threads=threads, hostname=hostname
            ),
            Transport.FILE: FileSender(
                settings.events_dir or settings.staging_dir / "events", threads=threads
            ),
        },
        threads=threads,
        dead_after=DEAD_AFTER,
        metrics=admission.metrics,
        clock=clock,
        random=random.random,
    )
    return EventParts(
        event_destinations=EventDestinations(
            store=store,
            kek=kek,
            issuer=basis.issuer,
            delivery=delivery,
            known_secrets=admission.known_secrets,
            metrics=admission.metrics,
            clock=clock,
            random_bytes=basis.random_bytes,
        ),
        queries=EventDestinationQueries(
            store=store, find_worker=admission.directory.find_worker, kek=kek, clock=clock
        ),
        event_delivery=delivery,
    )
