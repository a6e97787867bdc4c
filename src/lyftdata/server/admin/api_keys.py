"""Issues, rotates and revokes API keys. Only the results of `issue` and `rotate` contain the key itself."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.api_keys import NewApiKey, generate_api_key
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.key_generations import check_life, end_of_previous, newest_generation
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import parse_api_key_name
from lyftdata.core.records import ApiKeyRecord, Strategy, WorkerRecord
from lyftdata.core.secret import Secret
from lyftdata.server.admin.scope_checks import get_api_key
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.changes import ApiKeyChanged
from lyftdata.store.tables import api_keys, workers

_MAX_STEM = 38  # `-key-` and 6 characters go behind it, and a name has 50 at most
_DRAWS = 8


class IssuedKey(msgspec.Struct, frozen=True):
    """A newly created key: the record to store and the text to show once."""

    record: ApiKeyRecord
    text: Secret


class ApiKeys:
    """Issues, rotates and revokes API keys."""

    def __init__(
        self, *, store: Store, known_secrets: KnownSecrets, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self._store = store
        self._known_secrets = known_secrets
        self._clock = clock
        self._random_bytes = random_bytes

    async def issue(
        self, name: str, *, worker_ids: Sequence[str] | None, expires_in: timedelta | None, actor: Actor
    ) -> IssuedKey:
        """
        Create a key for every Worker of strategy `api_key`, or only for some of them.

        Args:
            name: 5 to 50 letters, digits, `-`, `_`; unique.
            worker_ids: None for all; otherwise at least one, each of strategy `api_key`.
            expires_in: Lifetime from now; None for no end.
            actor: Who issues it.

        Raises:
            InvalidInputError: The name or the lifetime is invalid, or no Worker is named.
            NotFoundError: One of the Workers does not exist.
            ConflictError: `api_key_name_taken`; `wrong_strategy` for an auto-enrolled Worker.
        """
        if worker_ids is not None and not worker_ids:
            raise InvalidInputError("worker_ids", "name at least one Worker, or leave it out for all")
        if worker_ids is None and actor.scope.is_limited:
            raise InvalidInputError("worker_ids", "name at least one Worker: you are limited to some")
        self._known_secrets.check("name", name)
        check_life(expires_in)
        issued = self._make(parse_api_key_name(name), worker_ids, expires_in, actor)

        def op(tx: WriteTx) -> None:
            for worker_id in worker_ids or ():
                _check_can_use_keys(workers.get_worker_in(tx.conn, worker_id, actor.scope))
            self.insert(tx, issued.record, actor)

        await self._store.write(op)
        return issued

    async def rotate(
        self, name: str, *, grace: timedelta | None = None, ends_at: datetime | None = None, actor: Actor
    ) -> IssuedKey:
        """
        Create the next generation of a key; older ones end after a grace period or at a given time, at once if neither is given.

        Raises:
            NotFoundError: No such key.
            ConflictError: `api_key_revoked`: a revoked key cannot be rotated.
            InvalidInputError: From `end_of_previous`.
        """
        now = self._clock()
        previous_end = end_of_previous(now=now, grace=grace, ends_at=ends_at)

        def op(tx: WriteTx) -> IssuedKey:
            newest = _newest(tx, name, actor)
            _check_not_revoked(newest)
            life = None if newest.expires_at is None else newest.expires_at - newest.created_at
            issued = self._make_like(newest, life, actor)
            api_keys.rotate_api_key(tx, issued.record, previous_expire_at=previous_end)
            details = {
                "generation": str(issued.record.generation),
                "grace_s": str(int((previous_end - now).total_seconds())),
            }
            tx.audit(actor.audit_event("api_key.rotated", f"api_key:{name}", at=now, details=details))
            return issued

        return await self._store.write(op)

    async def end_previous(self, name: str, *, actor: Actor) -> None:
        """
        End every older generation of a key now: Workers that still use one are cut off. Repeating it changes nothing.

        Raises:
            NotFoundError: No such key.
        """
        now = self._clock()

        def op(tx: WriteTx) -> None:
            _newest(tx, name, actor)
            ended = api_keys.end_previous(tx, name, now)
            if ended:
                details = {"public_ids": ",".join(ended)}
                tx.audit(
                    actor.audit_event("api_key.previous_ended", f"api_key:{name}", at=now, details=details)
                )

        await self._store.write(op)

    async def revoke(self, name: str, *, actor: Actor) -> list[ApiKeyRecord]:
        """
        Revoke every generation of a key: its Workers are cut off, at peers within a second. Repeating it changes nothing.

        Raises:
            NotFoundError: No such key.
        """
        now = self._clock()

        def op(tx: WriteTx) -> list[ApiKeyRecord]:
            newest = _newest(tx, name, actor)
            if newest.revoked_at is not None:
                # Published again, as in `Workers.change`.
                revoked = api_keys.find_by_name(tx.conn, name)
                for record in revoked:
                    tx.changed(ApiKeyChanged(record.public_id, record))
                return revoked
            tx.audit(actor.audit_event("api_key.revoked", f"api_key:{name}", at=now))
            return api_keys.revoke_api_key(tx, name, now)

        return await self._store.write(op)

    async def allow(self, name: str, worker_ids: Sequence[str], *, actor: Actor) -> list[ApiKeyRecord]:
        """
        Allow more Workers to use a key that is limited to some. Repeating it changes nothing.

        Raises:
            InvalidInputError: No Worker is named.
            NotFoundError: No such key, or no such Worker.
            ConflictError: `api_key_revoked`, `api_key_expired`; `wrong_strategy` for an auto-enrolled Worker.
        """
        if not worker_ids:
            raise InvalidInputError("worker_ids", "name at least one Worker")
        return await self._store.write(lambda tx: self.allow_in(tx, name, worker_ids, actor))

    def allow_in(self, tx: WriteTx, name: str, worker_ids: Sequence[str], actor: Actor) -> list[ApiKeyRecord]:
        """Do the same as `allow`, within the caller's transaction; raises the same."""
        now = self._clock()
        newest = _newest(tx, name, actor)
        _check_not_revoked(newest)
        if newest.expires_at is not None and now >= newest.expires_at:
            raise ConflictError("api_key_expired", f"API key '{name}' has expired.", hint="Rotate it first.")
        for worker_id in worker_ids:
            _check_can_use_keys(workers.get_worker_in(tx.conn, worker_id, actor.scope))
        added = set(worker_ids).difference(newest.worker_ids)
        if added and not newest.for_all_workers:
            details = {"workers": ",".join(sorted(added))}
            tx.audit(actor.audit_event("api_key.allowed", f"api_key:{name}", at=now, details=details))
        return api_keys.allow_workers(tx, name, worker_ids)

    def issue_in(self, tx: WriteTx, worker: WorkerRecord, actor: Actor) -> IssuedKey:
        """Issue a key for one Worker alone, named after it, in the transaction that adds the Worker."""
        issued = self._make(self._free_name(tx, worker.id), [worker.id], None, actor)
        self.insert(tx, issued.record, actor)
        return issued

    def issue_shared_in(
        self, tx: WriteTx, stem: str, workers: Sequence[WorkerRecord], actor: Actor
    ) -> IssuedKey:
        """Issue one key for several Workers, named after `stem`, in the transaction that adds them."""
        issued = self._make(self._free_name(tx, stem), [worker.id for worker in workers], None, actor)
        self.insert(tx, issued.record, actor)
        return issued

    def _free_name(self, tx: WriteTx, stem: str) -> str:
        # The name is generated, so a collision must not cause an error: in a large fleet of IDs with a common prefix two draws of 24 bits
        # do collide, and names of a Worker that was deleted and is added again stay in use.
        drawn = (_name_for(stem, self._random_bytes) for _ in range(_DRAWS))
        return next(
            (name for name in drawn if not api_keys.find_by_name(tx.conn, name)),
            _name_for(stem, self._random_bytes),
        )

    def insert(self, tx: WriteTx, record: ApiKeyRecord, actor: Actor) -> None:
        """Store a new key, with its audit event."""
        api_keys.insert_api_key(tx, record)
        scope = "all" if record.for_all_workers else ",".join(record.worker_ids)
        details = {"public_id": record.public_id, "workers": scope}
        tx.audit(
            actor.audit_event(
                "api_key.issued", f"api_key:{record.name}", at=record.created_at, details=details
            )
        )

    def suggest_name(self, worker_id: str) -> str:
        """Return a name for a key of one Worker, most likely unused; the Worker need not exist."""
        return _name_for(worker_id, self._random_bytes)

    def _make(
        self, name: str, worker_ids: Sequence[str] | None, life: timedelta | None, actor: Actor
    ) -> IssuedKey:
        now = self._clock()
        key: NewApiKey = generate_api_key(self._random_bytes)
        record = ApiKeyRecord(
            public_id=key.public_id,
            name=name,
            digest=key.digest,
            for_all_workers=worker_ids is None,
            worker_ids=tuple(sorted(set(worker_ids or ()))),
            created_at=now,
            created_by=actor.audit_name,
            expires_at=None if life is None else now + life,
        )
        return IssuedKey(record, key.text)

    def _make_like(self, before: ApiKeyRecord, life: timedelta | None, actor: Actor) -> IssuedKey:
        scope = None if before.for_all_workers else before.worker_ids
        issued = self._make(before.name, scope, life, actor)
        record = msgspec.structs.replace(issued.record, generation=before.generation + 1)
        return IssuedKey(record, issued.text)


def _newest(tx: WriteTx, name: str, actor: Actor) -> ApiKeyRecord:
    return newest_generation(get_api_key(tx, name, actor), kind="api_key", name=name)


def _check_not_revoked(newest: ApiKeyRecord) -> None:
    if newest.revoked_at is not None:
        raise ConflictError(
            "api_key_revoked", f"API key '{newest.name}' was revoked.", hint="Issue a new key."
        )


def _check_can_use_keys(worker: WorkerRecord) -> None:
    if worker.strategy is not Strategy.API_KEY:
        raise ConflictError(
            "wrong_strategy",
            f"Worker '{worker.id}' is auto-enrolled: it has its own identity key and uses no API key.",
        )


def _name_for(worker_id: str, random_bytes: RandomBytes) -> str:
    """Return a valid key name: a Worker's ID may be too short or too long, or contain dots."""
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", worker_id)
    if len(stem) > _MAX_STEM:
        # What distinguishes hosts of one domain or rack is at either end of their names.
        half = _MAX_STEM // 2 - 1
        stem = f"{stem[:half]}--{stem[-half:]}"
    return f"{stem}-key-{random_bytes(3).hex()}"
