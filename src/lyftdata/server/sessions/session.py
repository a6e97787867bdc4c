"""One connected Worker: its boot, its credential, and how its poll can end."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from enum import Enum

import msgspec

from lyftdata.core.networks import network_of_host
from lyftdata.core.records import ApiKeyRecord, Labels
from lyftdata.core.text import clean_text
from lyftdata.core.tokens import parse_credential

_MAX_EARLIER_NETWORKS = 8


class Directive(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the Server tells a connected Worker to do."""

    kind: str
    code: str = ""
    final: bool = False
    reason: str = ""
    remedy: str = ""
    reference: str = ""


ROTATE_KEY = Directive(kind="rotate_key", reason="An operator asks for a new identity key.")
"""Sent once to each session of a Worker whose key is to be rotated, until it has another key."""
RENEW = Directive(kind="renew", reason="Name, labels or key have changed.")


class PollEnd(Enum):
    """Why a held poll ended without a directive."""

    HELD = "held"
    PEER_CLOSED = "peer_closed"
    REPLACED = "replaced"
    MOVED = "moved"
    """This Server is about to stop, and there is another one: the Worker polls again, and the load balancer sends it there."""
    STOPPING = "stopping"


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a Worker program: what it reports about itself (hostile text) and the address it connects from."""

    boot_id: str
    host: dict[str, str]
    reported_labels: Labels
    address: str


class Session:
    """One connected Worker; changed only by `Sessions`, in the event loop."""

    __slots__ = (
        "boot",
        "broken",
        "credential",
        "earlier_networks",
        "has_moved",
        "known",
        "poll",
        "queued",
        "since",
        "timer",
        "worker_id",
    )

    def __init__(self, worker_id: str, boot: Boot, credential: str, since: datetime) -> None:
        self.worker_id = worker_id
        self.boot = boot
        self.credential = credential
        self.since = since
        self.poll: asyncio.Future[Directive | PollEnd] | None = None
        self.queued: list[Directive] = []
        self.timer: asyncio.TimerHandle | None = None
        self.known: asyncio.Event | None = None
        self.broken = False
        self.has_moved = False
        """Whether this boot was connected to another Server just before."""
        self.earlier_networks: tuple[str, ...] = ()
        """The networks from which this boot has polled before its current one."""

    def polled_from(self, boot: Boot) -> None:
        """Update what the boot reports about itself, and its address, from a new poll."""
        if boot.address != self.boot.address:
            earlier = network_of_host(self.boot.address)
            others = tuple(network for network in self.earlier_networks if network != earlier)
            self.earlier_networks = (*others, earlier)[-_MAX_EARLIER_NETWORKS:]
        self.boot = boot

    def follows(self, before: "Session") -> None:
        """Take over from which networks this boot has polled at the Server where it was connected before."""
        boot, self.boot = self.boot, before.boot
        self.earlier_networks = before.earlier_networks
        self.polled_from(boot)

    def holds_slot(self) -> bool:
        """Return whether a second boot ID must be refused."""
        return not self.broken

    def is_between_polls(self) -> bool:
        """Return whether its poll was answered and it has not polled since."""
        return self.poll is None and not self.broken


def key_of(session: Session) -> tuple[str, str]:
    """Return kind and value of a session's credential: an API key's public ID, or a thumbprint."""
    credential = parse_credential(session.credential)
    return credential.kind, credential.value


def both_hosts(first: Boot, second: Boot) -> str:
    """Describe the two boots of one Worker, for operators."""
    return f"Connected: {_describe(first)}. Refused: {_describe(second)}."


def _describe(boot: Boot) -> str:
    hostname = clean_text(boot.host.get("hostname", "?"), 64)
    return f"{hostname} ({boot.address}, pid {clean_text(boot.host.get('pid', '?'), 16)})"


def find_used_key(
    session: Session, find_api_key: Callable[[str], ApiKeyRecord | None]
) -> ApiKeyRecord | None:
    """Return the API key a session uses, or None for an enrolled Worker."""
    credential = parse_credential(session.credential)
    return find_api_key(credential.value) if credential.kind == "key" else None
