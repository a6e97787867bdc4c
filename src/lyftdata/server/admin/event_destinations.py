"""
Adds, changes, tests and deletes the destinations of events.

Each use case is one transaction with its audit event in it. An audit event has host and port of a URL and no more: viewers read the audit
log, and many services put a secret into the path of their webhooks.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError, InvalidInputError, NotFoundError
from lyftdata.core.event_destinations import (
    Target,
    endpoint_of,
    parse_ca,
    parse_destination_name,
    parse_patterns,
    parse_target_url,
    seal_target,
    unseal_target,
)
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import check_no_credential, parse_label_text
from lyftdata.core.notes import read_note
from lyftdata.core.records import EventDestinationRecord, Transport
from lyftdata.core.sealing import NONCE_BYTES, UnsealError
from lyftdata.core.secret import Secret
from lyftdata.core.standard_webhooks import generate_webhook_secret
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.delivery.event_delivery import EventDelivery
from lyftdata.server.delivery.messages import Outcome, make_test_message
from lyftdata.server.metrics import Metrics
from lyftdata.store import Store, WriteTx, audit_log
from lyftdata.store.tables import event_destinations

_MAX_TESTS = 4
_MAX_REASON = 200


class DestinationChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a destination; what is None stays."""

    url: str | None = None
    events: Sequence[str] | None = None
    labels: Sequence[str] | None = None
    ca: str | None = None


class EventDestinations:
    """
    The use cases of event destinations.

    Args:
        store: Where they are kept.
        kek: Seals URLs and secrets.
        issuer: Named in test events.
        delivery: Sends test events.
        known_secrets: Must not be stored as something else.
        metrics: Counts what is skipped.
        clock: Aware UTC time.
        random_bytes: Makes secrets and nonces.
    """

    def __init__(
        self,
        *,
        store: Store,
        kek: bytes,
        issuer: str,
        delivery: EventDelivery,
        known_secrets: KnownSecrets,
        metrics: Metrics,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._kek = kek
        self._issuer = issuer
        self._delivery = delivery
        self._known_secrets = known_secrets
        self._metrics = metrics
        self._clock = clock
        self._random_bytes = random_bytes
        self._tests = asyncio.Semaphore(_MAX_TESTS)

    async def add(
        self, name: str, transport: Transport, change: DestinationChange, *, actor: Actor
    ) -> Secret | None:
        """
        Add a destination; events from this one on are delivered to it.

        Returns:
            The secret that signs its webhooks, to show once; None for other transports.

        Raises:
            InvalidInputError: A field breaks its rule.
            ConflictError: `event_destination_name_taken`, `too_many_event_destinations`.
        """
        name = parse_destination_name(name)
        self._known_secrets.check("name", name)
        secret = generate_webhook_secret(self._random_bytes) if transport is Transport.WEBHOOK else None
        empty = EventDestinationRecord(
            name=name,
            transport=transport,
            endpoint="",
            sealed_target=self._seal(name, Target(secret="" if secret is None else secret.reveal())),
            created_at=self._clock(),
            created_by=actor.audit_name,
        )
        record = self._changed(empty, msgspec.structs.replace(change, url=change.url or ""))

        def op(tx: WriteTx) -> None:
            event_destinations.insert_destination(tx, record, after=tx.head.number)
            self._audit(tx, actor, "created", record)

        await self._store.write(op)
        return secret

    async def change(self, name: str, change: DestinationChange, *, actor: Actor) -> None:
        """Change a destination; raises InvalidInputError, NotFoundError."""

        def op(tx: WriteTx) -> None:
            before = event_destinations.get_destination(tx.conn, name)
            record = self._changed(before, change)
            if _without_seal(record) != _without_seal(before) or self._open(record) != self._open(before):
                event_destinations.replace_destination(tx, record)
                event_destinations.retry_now(tx, name)
                event_destinations.forget_rejections(tx, name)
                self._audit(tx, actor, "changed", record)

        await self._store.write(op)

    async def pause(self, name: str, *, actor: Actor) -> None:
        """Deliver nothing more to a destination until it is resumed: events wait in the audit log; raises NotFoundError."""

        def op(tx: WriteTx) -> None:
            before = event_destinations.get_destination(tx.conn, name)
            if before.paused_at is None:
                record = msgspec.structs.replace(before, paused_at=self._clock())
                event_destinations.replace_destination(tx, record)
                self._audit(tx, actor, "paused", record)

        await self._store.write(op)

    async def resume(self, name: str, *, actor: Actor) -> None:
        """Deliver again, from where it was paused or has failed, without waiting for the next attempt; raises NotFoundError."""

        def op(tx: WriteTx) -> None:
            before = event_destinations.get_destination(tx.conn, name)
            event_destinations.retry_now(tx, name)
            if before.paused_at is not None:
                record = msgspec.structs.replace(before, paused_at=None)
                event_destinations.replace_destination(tx, record)
                self._audit(tx, actor, "resumed", record)

        await self._store.write(op)

    async def skip_event(self, name: str, number: int, reason: str, *, actor: Actor) -> None:
        """
        Leave out the one event that the receiver of a destination rejects; those after it follow at once.

        That it was skipped is an event itself, which this destination is sent in its turn. It names number and type of the other event, and
        nothing else that was in it: what the receiver rejected once it would reject again. Whichever comes first counts, this or a delivery
        that is under way.

        Raises:
            InvalidInputError: There is no reason, or it breaks its rule.
            NotFoundError: No such destination, or the audit log does not have the event.
            ConflictError: `event_does_not_wait`, `event_not_rejected`.
        """
        reason = read_note("reason", reason, max_length=_MAX_REASON, known_secrets=self._known_secrets)
        if not reason:
            raise InvalidInputError("reason", "must be given")

        def op(tx: WriteTx) -> None:
            record = event_destinations.get_destination(tx.conn, name)
            before = event_destinations.skip_event(tx, name, number)
            skipped = audit_log.find_event(tx.conn, number)
            if skipped is None or before.rejected_since is None:
                raise NotFoundError("event", str(number))
            details = {
                "event": str(number),
                "type": skipped.event.action,
                "at": skipped.event.at.isoformat(),
                "rejections": str(before.rejections),
                "since": before.rejected_since.isoformat(),
                "answer": before.rejection,
                "reason": reason,
            }
            self._audit(tx, actor, "event_skipped", record, details)

        await self._store.write(op)
        self._metrics.event_skipped(name)

    async def rotate_secret(self, name: str, *, overlap: timedelta, actor: Actor) -> Secret:
        """
        Make a new secret; for a time, messages are signed with the previous one too.

        Returns:
            The secret, to show once.

        Raises:
            NotFoundError: No such destination.
            ConflictError: `not_a_webhook`.
        """
        secret = generate_webhook_secret(self._random_bytes)

        def op(tx: WriteTx) -> None:
            before = event_destinations.get_destination(tx.conn, name)
            if before.transport is not Transport.WEBHOOK:
                raise ConflictError("not_a_webhook", f"{name} is not a webhook: it has no secret.")
            target = self._open(before)
            previous = target.secret if overlap else ""
            record = msgspec.structs.replace(
                before,
                sealed_target=self._seal(name, Target(target.url, secret.reveal(), previous)),
                previous_secret_until=self._clock() + overlap if overlap else None,
            )
            event_destinations.replace_destination(tx, record)
            self._audit(tx, actor, "secret_rotated", record)

        await self._store.write(op)
        return secret

    async def test(self, name: str, *, actor: Actor) -> Outcome:
        """
        Send a test event to a destination now, paused or not; raises NotFoundError.

        It is sent by this Server: what another one can reach may differ.
        """
        async with self._tests:
            record = await self._store.read(lambda conn: event_destinations.get_destination(conn, name))
            message = make_test_message(
                name,
                operator=actor.operator,
                at=self._clock(),
                unique=self._random_bytes(16).hex(),
                source=self._issuer,
            )
            outcome = await self._delivery.send_one(record, message)
        result = {"result": outcome.error[:200] or "delivered"}
        await self._store.write(lambda tx: self._audit(tx, actor, "tested", record, result))
        return outcome

    async def delete(self, name: str, *, actor: Actor) -> None:
        """Remove a destination: what waits for it is not delivered; raises NotFoundError."""

        def op(tx: WriteTx) -> None:
            record = event_destinations.delete_destination(tx, name)
            self._audit(tx, actor, "deleted", record)

        await self._store.write(op)

    def _changed(self, before: EventDestinationRecord, change: DestinationChange) -> EventDestinationRecord:
        given: dict[str, object] = {}
        if change.url is not None:
            given |= self._changed_url(before, change.url)
        if change.events is not None:
            given["events"] = parse_patterns(change.events)
        if change.labels is not None:
            given["labels"] = _parse_labels(change.labels, self._known_secrets.check)
        if change.ca is not None:
            given["ca"] = parse_ca(change.ca)
        return msgspec.structs.replace(before, **given)

    def _changed_url(self, before: EventDestinationRecord, text: str) -> dict[str, object]:
        url = parse_target_url(text, before.transport)
        check_no_credential("url", url)
        self._known_secrets.check("url", url)
        target = msgspec.structs.replace(self._open(before), url=url)
        return {
            "endpoint": endpoint_of(url).text if url else "",
            "sealed_target": self._seal(before.name, target),
        }

    def _seal(self, name: str, target: Target) -> bytes:
        return seal_target(target, name=name, key=self._kek, nonce=self._random_bytes(NONCE_BYTES))

    def _open(self, record: EventDestinationRecord) -> Target:
        try:
            return unseal_target(record, key=self._kek)
        except UnsealError as error:
            raise ConflictError(
                "event_destination_not_readable",
                f"The URL of {record.name} was sealed with another secret key.",
                hint="Delete the destination and add it again.",
            ) from error

    def _audit(
        self,
        tx: WriteTx,
        actor: Actor,
        what: str,
        record: EventDestinationRecord,
        more: dict[str, str] | None = None,
    ) -> None:
        details = {
            "transport": record.transport.value,
            "endpoint": record.endpoint,
            "events": ",".join(record.events)[:500] or "*",
            "labels": ",".join(record.labels)[:500],
        }
        action, subject = f"event_destination.{what}", f"event_destination:{record.name}"
        tx.audit(actor.audit_event(action, subject, at=self._clock(), details=details | (more or {})))


def _without_seal(record: EventDestinationRecord) -> EventDestinationRecord:
    """Return a record without what differs each time it is sealed."""
    return msgspec.structs.replace(record, sealed_target=b"")


def _parse_labels(texts: Sequence[str], check_secret: Callable[..., None]) -> list[str]:
    for text in texts:
        check_secret("labels", text)
        if len(parse_label_text(text)) != 1:
            raise InvalidInputError("labels", "must be labels such as gpu or zone=eu-1, one each")
    return sorted({text.strip() for text in texts})
