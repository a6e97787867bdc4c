"""What is delivered, and the outcome."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec

from lyftdata.core.audit import leaf_of
from lyftdata.core.records import ChainedAuditEvent, Transport

TEST_EVENT = "event_destination.test"
"""Type of the message that `lyftdata events test` sends; it is not in the audit log."""


EVENT_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "An event of lyftdata",
    "type": "object",
    "required": ["type", "timestamp", "source", "data"],
    "properties": {
        "type": {"type": "string", "description": "What happened; one of the types above."},
        "timestamp": {"type": "string", "format": "date-time", "description": "When it happened, UTC."},
        "source": {"type": "string", "format": "uri", "description": "The public URL of the Server."},
        "data": {
            "type": "object",
            "description": "The event as the export of the audit log has it.",
            "required": ["number", "at", "actor", "action", "subject", "address", "details", "hash"],
            "properties": {
                "number": {"type": "integer", "minimum": 1, "description": "Its number in the audit log."},
                "at": {"type": "string", "format": "date-time", "description": "As `timestamp`."},
                "actor": {
                    "type": "string",
                    "description": "Who did it: `operator:NAME`, `api_token:NAME`, `worker:ID`, `enrollment`, `issuer` (of operators), `server`, or "
                    "`host` (a command on the Server's host).",
                },
                "action": {"type": "string", "description": "As `type`."},
                "subject": {
                    "type": "string",
                    "description": "To what: `worker:ID`, `api_key:NAME` and so on.",
                },
                "address": {"type": "string", "description": "From which address; may be empty."},
                "details": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "More facts, which depend on the type; no secrets.",
                },
                "hash": {"type": "string", "description": "Its hash in the chain, hexadecimal."},
            },
        },
    },
}


class Message(msgspec.Struct, frozen=True):
    """
    One message.

    `id` is the same for each attempt, by any Server; `number` is that of the event in the audit log, 0 for a test. `body` is one
    JSON object.
    """

    id: str
    number: int
    at: datetime
    type: str
    body: bytes


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where messages go, with what is needed to send them.

    `secrets` sign webhooks, each in its text form.
    """

    name: str
    transport: Transport
    url: str
    secrets: Sequence[str]
    ca: str

    def __repr__(self) -> str:
        return f"Destination({self.name})"


class Outcome(msgspec.Struct, frozen=True):
    """
    The outcome of sending messages: how many were delivered, from the first on, and why no more were.

    `error` is "" if nothing went wrong. It holds no part of a URL but host and port. `is_rejected` says that the receiver got the message
    which comes next, and did not accept it; if it was not reached, or asked to wait, nothing is known of the message.
    """

    delivered: int
    error: str = ""
    retry_after_s: float | None = None
    is_rejected: bool = False


class Sender(Protocol):
    """Sends messages by one transport."""

    async def send(self, destination: Destination, messages: Sequence[Message]) -> Outcome:
        """Send messages in order, all or some of them; stops at the first that is not delivered."""


class DeliveryError(Exception):
    """
    Why something cannot be delivered; of a URL it contains only host and port.

    Args:
        message: One sentence.
        retry_after_s: For how long the receiver asks not to be asked again.
        is_rejected: Whether the receiver got the message and did not accept it.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, is_rejected: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s: Final = retry_after_s
        self.is_rejected: Final = is_rejected


def event_message(chained: ChainedAuditEvent, *, source: str) -> Message:
    """
    Return the message for an audit event.

    Args:
        chained: The event; `data` of the message is what the export of the audit log has.
        source: The issuer, which distinguishes deployments.
    """
    event = chained.event
    data = {
        "number": chained.number,
        "at": event.at,
        "actor": event.actor,
        "action": event.action,
        "subject": event.subject,
        "address": event.address,
        "details": event.details,
        "hash": chained.hash.hex(),
    }
    # Not the hash of the chain, which changes with the secret key.
    digest = sha256(leaf_of(event, number=chained.number)).hexdigest()[:16]
    return Message(
        id=f"evt_{chained.number}_{digest}",
        number=chained.number,
        at=event.at,
        type=event.action,
        body=_body(event.action, event.at, source, data),
    )


def make_test_message(name: str, *, operator: str, at: datetime, unique: str, source: str) -> Message:
    """Return the message with which an operator tests a destination."""
    data = {"destination": name, "operator": operator}
    return Message(
        id=f"test_{unique}", number=0, at=at, type=TEST_EVENT, body=_body(TEST_EVENT, at, source, data)
    )


def _body(type_: str, at: datetime, source: str, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": type_, "timestamp": at, "source": source, "data": data})
