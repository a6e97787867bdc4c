"""
Rules of event destinations: where events of the audit log are delivered, which events, and how the destination's secrets are encrypted.

    webhook   https://host/path            one signed POST an event (Standard Webhooks)
    syslog    tls://host:port              RFC 5424 over TLS (RFC 5425)
              tcp://host:port              RFC 5424 over TCP (RFC 6587)
    file      none                         one JSON object a line, in a file that is named after the destination
"""

import re
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

import msgspec

from lyftdata.core.audit_actions import AUDIT_ACTIONS
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.records import (
    AuditEvent,
    EventDeliveryRecord,
    EventDestinationRecord,
    Transport,
    WorkerRecord,
)
from lyftdata.core.resources import has_label
from lyftdata.core.sealing import seal, unseal
from lyftdata.core.structs import prepare_structs
from lyftdata.core.text import count

MAX_DESTINATIONS = 32
MAX_PATTERNS = 32
SECRET_OVERLAP = timedelta(hours=24)
"""How long after a rotation a message is signed with the previous secret too."""
EVENT_SKIPPED = "event_destination.event_skipped"
MAX_PAUSE = timedelta(hours=1)
"""A destination that is paused for longer is an alert: what is forgotten or hidden looks like a quiet day to those who read the events."""
MIN_REJECTIONS = 3
"""A receiver that has rejected an event so often is taken to reject the event; fewer may be a bad moment."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{1,49}")
_PATTERN = re.compile(r"\*|[a-z_]+\.(?:\*|[a-z_]+)")
_MAX_URL = 1024
_MAX_CA = 65_536
_URL_CHARACTERS = re.compile(r"[\x21-\x7e]+")
_SCHEMES = {Transport.WEBHOOK: ("https", "http"), Transport.SYSLOG: ("tls", "tcp")}
_DEFAULT_PORTS = {"https": 443, "http": 80, "tls": 6514, "tcp": 601}
_ENCRYPTED = frozenset({"https", "tls"})


class Stop(StrEnum):
    """Why nothing is delivered to a destination."""

    PAUSED = "paused"
    """An operator has paused it."""
    FAILING = "failing"
    """The last attempt failed."""
    REJECTING = "rejecting"
    """Its receiver answers, and rejects the next event again and again."""


class Target(msgspec.Struct, frozen=True):
    """
    The encrypted part of a destination.

    `url` is encrypted too: many services put a secret into the path of their webhooks. `secret` is "" unless it is a webhook;
    `previous_secret` is the one before a rotation.
    """

    url: str = ""
    secret: str = ""
    previous_secret: str = ""

    def __repr__(self) -> str:
        return "Target(***)"


prepare_structs(Target)


class Endpoint(msgspec.Struct, frozen=True):
    """Host and port of a URL, and whether the connection is encrypted."""

    host: str
    port: int
    is_encrypted: bool

    @property
    def text(self) -> str:
        """Return host and port, which hold no secret."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_destination_name(text: str) -> str:
    """Read a destination's name: 2 to 50 lower-case letters, digits, `-` and `_`. It is also the name of a file."""
    if not _NAME.fullmatch(text):
        raise InvalidInputError(
            "name",
            "must be 2 to 50 lower-case ASCII letters, digits, '-' or '_', starting with a letter or digit",
        )
    return text


def parse_target_url(text: str, transport: Transport) -> str:
    """
    Check the URL of a destination; that of a file must be empty.

    Which addresses are allowed is decided at each connection: what a name resolves to may change.
    """
    url = text.strip()
    if transport is Transport.FILE:
        if url:
            raise InvalidInputError(
                "url", "must not be given for a file: LYFTDATA_EVENTS_DIR names its directory"
            )
        return ""
    schemes = _SCHEMES[transport]
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    if len(url) > _MAX_URL or not _URL_CHARACTERS.fullmatch(url):
        raise InvalidInputError("url", f"must be a URL of at most {_MAX_URL} ASCII characters, {wanted}")
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_usable = urlsplit(""), False
    if not is_usable:
        raise InvalidInputError("url", f"must begin with {wanted} and a host")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise InvalidInputError("url", "must have no user name, password or fragment")
    if transport is Transport.SYSLOG and (parts.path not in {"", "/"} or parts.query):
        raise InvalidInputError("url", "must be host and port alone")
    return url


def endpoint_of(url: str) -> Endpoint:
    """Return the endpoint of a checked URL."""
    parts: SplitResult = urlsplit(url)
    return Endpoint(
        host=parts.hostname or "",
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        is_encrypted=parts.scheme in _ENCRYPTED,
    )


def parse_patterns(texts: Sequence[str]) -> list[str]:
    """Check patterns of events: a type such as `worker.enrolled`, a group such as `worker.*`, or `*`."""
    if len(texts) > MAX_PATTERNS:
        raise InvalidInputError("events", f"must be at most {MAX_PATTERNS}")
    for text in texts:
        if not _PATTERN.fullmatch(text):
            raise InvalidInputError("events", "must be like worker.enrolled, worker.* or *")
        # Fail-open: a misspelt filter would never deliver anything, and nothing would tell.
        if not any(matches_pattern(action, text) for action in AUDIT_ACTIONS):
            raise InvalidInputError(
                "events", f"there is no event that '{text}' fits; see docs/reference/event-types.md"
            )
    return sorted(set(texts))


def parse_ca(text: str) -> str:
    """Check the certificates to trust instead of the system's, PEM; "" means the system's."""
    pem = text.strip()
    if not pem:
        return ""
    # OpenSSL's binding accepts only ASCII, and raises a TypeError for other text.
    if len(pem) > _MAX_CA or not pem.isascii() or "PRIVATE KEY" in pem:
        raise InvalidInputError(
            "ca",
            f"must be certificates in PEM form, at most {_MAX_CA} ASCII characters, without a private key",
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInputError("ca", "must be certificates in PEM form") from error
    return pem


def matches_pattern(action: str, pattern: str) -> bool:
    """Return whether a type of event matches a pattern."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return action.startswith(pattern[:-1])
    return action == pattern


def is_wanted(
    event: AuditEvent,
    destination: EventDestinationRecord,
    *,
    find_worker: Callable[[str], WorkerRecord | None],
) -> bool:
    """
    Return whether an event is delivered to a destination.

    With labels, only events about Workers are delivered: Workers that have one of the labels now, and Workers whose entry is gone, since
    their labels are no longer known. That an event was skipped is delivered to the destination that misses it.
    """
    if is_notice_of_gap(event, destination.name):
        return True
    if destination.events and not any(matches_pattern(event.action, one) for one in destination.events):
        return False
    if not destination.labels:
        return True
    kind, _, worker_id = event.subject.partition(":")
    if kind != "worker":
        return False
    worker = find_worker(worker_id)
    return worker is None or any(has_label(worker, label) for label in destination.labels)


def stopped_since(destination: EventDestinationRecord, delivery: EventDeliveryRecord) -> dict[Stop, datetime]:
    """
    Return why nothing is delivered to a destination, each with since when; a destination to which events are delivered has none.

    One that is paused is that and nothing else: no attempt is made that could end the rest.
    """
    if destination.paused_at is not None:
        return {Stop.PAUSED: destination.paused_at}
    since = {
        Stop.FAILING: delivery.failing_since if delivery.failures else None,
        Stop.REJECTING: delivery.rejected_since
        if rejected_event(delivery) is not None and delivery.rejections >= MIN_REJECTIONS
        else None,
    }
    return {stop: at for stop, at in since.items() if at is not None}


def rejected_event(delivery: EventDeliveryRecord) -> int | None:
    """Return the number of the event that waits because its receiver rejects it, None if there is none."""
    number = delivery.rejected_number
    # An older program that has delivered since has moved `through` and left the rest.
    return number if number is not None and number > delivery.through else None


def check_may_skip(delivery: EventDeliveryRecord, number: int) -> None:
    """
    Refuse to skip an event that is not the one which holds up the others, or that its receiver has not rejected again and again.

    Raises:
        ConflictError: `event_does_not_wait`, `event_not_rejected`.
    """
    name = delivery.name
    if number <= delivery.through:
        raise ConflictError(
            "event_does_not_wait",
            f"Event {number} does not wait for {name} any more: it was delivered or skipped, or is not wanted.",
        )
    times = delivery.rejections if rejected_event(delivery) == number else 0
    if times == 0:
        raise ConflictError(
            "event_not_rejected",
            f"{name} has not rejected event {number}: only the event that waits first can be skipped, after {MIN_REJECTIONS} rejections.",
        )
    if times < MIN_REJECTIONS:
        raise ConflictError(
            "event_not_rejected",
            f"{name} has rejected event {number} {count(times, 'time')}: it can be skipped after {MIN_REJECTIONS}.",
            hint=f"To try again now: lyftdata events resume {name}",
        )


def is_notice_of_gap(event: AuditEvent, name: str) -> bool:
    """
    Return whether an event tells that another one was skipped for this destination.

    A notice of a notice is an event like others: a receiver that rejects every notice would be sent the next one for each.
    """
    return (
        event.action == EVENT_SKIPPED
        and event.subject == f"event_destination:{name}"
        and event.details.get("type") != EVENT_SKIPPED
    )


def seal_target(target: Target, *, name: str, key: bytes, nonce: bytes) -> bytes:
    """Return a target, encrypted for the record of this name; see `sealing.seal`."""
    return seal(msgspec.json.encode(target), key=key, nonce=nonce, context=_context(name))


def unseal_target(record: EventDestinationRecord, *, key: bytes) -> Target:
    """Return the target of a record; raises UnsealError."""
    return msgspec.json.decode(
        unseal(record.sealed_target, key=key, context=_context(record.name)), type=Target
    )


def secrets_in_force(target: Target, record: EventDestinationRecord, *, now: datetime) -> list[str]:
    """Return the secrets that sign a message, the current one first."""
    has_overlap = record.previous_secret_until is not None and now < record.previous_secret_until
    return (
        [target.secret, target.previous_secret] if has_overlap and target.previous_secret else [target.secret]
    )


def _context(name: str) -> str:
    return f"event destination {name}"
