"""
Adds, changes and deletes resources, the services for which Workers may get tokens.

Each use case is one transaction with its audit event in it.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import parse_label_text, parse_worker_id, parse_worker_name
from lyftdata.core.records import ResourceRecord
from lyftdata.core.resources import (
    MAX_SELECTORS,
    check_fits_token,
    check_selectors_fit,
    parse_audience,
    parse_resource_name,
    parse_scopes,
)
from lyftdata.core.secret import Secret
from lyftdata.server.admin.edits import check_unchanged
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import resources


class ResourceChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a resource; fields that are None stay the same."""

    audience: str | None = None
    scopes: Sequence[str] | None = None
    for_all_workers: bool | None = None
    include_enrolled: bool | None = None
    worker_ids: Sequence[str] | None = None
    worker_names: Sequence[str] | None = None
    labels: Sequence[str] | None = None


class Resources:
    """Adds, changes and deletes resources, and issues the keys with which they authenticate to check tokens."""

    def __init__(
        self,
        *,
        store: Store,
        issuer: str,
        known_secrets: KnownSecrets,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._known_secrets = known_secrets
        self._issuer = issuer
        self._clock = clock
        self._random_bytes = random_bytes

    async def add(self, name: str, change: ResourceChange, *, actor: Actor) -> ResourceRecord:
        """
        Add a resource; it is granted to no Worker unless Workers are selected.

        Raises:
            InvalidInputError: Name, audience, a scope or a selector is invalid.
            ConflictError: `resource_name_taken`, `resource_audience_taken`.
        """
        if change.audience is None:
            raise InvalidInputError("audience", "must be given")
        self._known_secrets.check("name", name)
        empty = ResourceRecord(
            name=parse_resource_name(name),
            audience="",
            created_at=self._clock(),
            created_by=actor.audit_name,
        )
        record = self._changed(empty, change)

        def op(tx: WriteTx) -> ResourceRecord:
            resources.insert_resource(tx, record)
            tx.audit(
                actor.audit_event(
                    "resource.created", _subject(name), at=record.created_at, details=_details(record)
                )
            )
            return record

        return await self._store.write(op)

    async def change(
        self,
        name: str,
        change: ResourceChange,
        *,
        expected: Mapping[str, object] | None = None,
        actor: Actor,
    ) -> ResourceRecord:
        """
        Change a resource.

        Args:
            name: The resource.
            change: What to change.
            expected: Fields as the caller saw them; None skips the check.
            actor: Who does it.

        Raises:
            As for `add`; NotFoundError; ConflictError `changed_meanwhile`.
        """

        def op(tx: WriteTx) -> ResourceRecord:
            before = resources.get_resource(tx.conn, name)
            check_unchanged(before, expected)
            record = self._changed(before, change)
            if record != before:
                resources.replace_resource(tx, record)
                tx.audit(
                    actor.audit_event(
                        "resource.changed", _subject(name), at=self._clock(), details=_details(record)
                    )
                )
            return record

        return await self._store.write(op)

    async def delete(self, name: str, *, actor: Actor) -> None:
        """Remove a resource: no more tokens are issued for it; raises NotFoundError."""

        def op(tx: WriteTx) -> None:
            record = resources.delete_resource(tx, name)
            details = {"audience": record.audience}
            tx.audit(actor.audit_event("resource.deleted", _subject(name), at=self._clock(), details=details))

        await self._store.write(op)

    async def issue_key(self, name: str, *, actor: Actor) -> Secret:
        """
        Issue the key with which the service checks tokens (RFC 7662); the previous one ends at once.

        Returns:
            The key, to show once.
        """
        key = generate_api_key(self._random_bytes)

        def op(tx: WriteTx) -> None:
            before = resources.get_resource(tx.conn, name)
            resources.replace_resource(
                tx, msgspec.structs.replace(before, key_public_id=key.public_id, key_digest=key.digest)
            )
            details = {"public_id": key.public_id}
            tx.audit(
                actor.audit_event("resource.key_issued", _subject(name), at=self._clock(), details=details)
            )

        await self._store.write(op)
        return key.text

    def _changed(self, before: ResourceRecord, change: ResourceChange) -> ResourceRecord:
        given = {
            "audience": None
            if change.audience is None
            else parse_audience(change.audience, issuer=self._issuer),
            "scopes": None if change.scopes is None else parse_scopes(change.scopes),
            "for_all_workers": change.for_all_workers,
            "include_enrolled": change.include_enrolled,
            "worker_ids": _parsed(change.worker_ids, "worker_ids", parse_worker_id),
            "worker_names": _parsed(change.worker_names, "worker_names", parse_worker_name),
            "labels": _parsed(change.labels, "labels", _label_selector),
        }
        changed = msgspec.structs.replace(
            before, **{name: value for name, value in given.items() if value is not None}
        )
        self._known_secrets.check("audience", change.audience or "")
        for field in ("scopes", "worker_ids", "worker_names", "labels"):
            self._known_secrets.check(field, *(getattr(change, field) or ()))
        check_fits_token(changed.audience, changed.scopes)
        check_selectors_fit(changed.worker_ids, changed.worker_names, changed.labels)
        return changed


def _parsed(texts: Sequence[str] | None, field: str, parse: Callable[[str], str]) -> list[str] | None:
    if texts is None:
        return None
    if len(texts) > MAX_SELECTORS:
        raise InvalidInputError(field, f"must be at most {MAX_SELECTORS}")
    try:
        return sorted({parse(text) for text in texts})
    except InvalidInputError as error:
        raise InvalidInputError(field, error.message) from error


def _label_selector(text: str) -> str:
    labels = parse_label_text(text)
    if len(labels) != 1:
        raise InvalidInputError("labels", "must be labels such as gpu or zone=eu-1, one each")
    return text.strip()


def _details(record: ResourceRecord) -> dict[str, str]:
    chosen = [
        *record.worker_ids,
        *(f"name {n}" for n in record.worker_names),
        *(f"label {s}" for s in record.labels),
    ]
    workers = "all" if record.for_all_workers else ",".join(chosen)[:500]
    return {
        "audience": record.audience,
        "scopes": " ".join(record.scopes)[:500],
        "workers": workers or "nobody",
        "enrolled": "yes" if record.include_enrolled else "no",
    }


def _subject(name: str) -> str:
    return f"resource:{name}"
