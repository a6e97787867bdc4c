"""
The Server's signing keys: loaded, created, rotated, published.

The rules (when the next key is created, when it starts to sign, when an old one leaves the JWKS) are pure and live in
`core.keyring`; this module applies them to the store.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from lyftdata.core.actor import Actor
from lyftdata.core.discovery import jwk_set
from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.keyring import (
    RotationPlan,
    RotationPolicy,
    SigningKey,
    VerificationKey,
    active_key,
    decrypt_signing_key,
    encrypt_signing_key,
    generate_signing_key,
    plan_rotation,
)
from lyftdata.core.log_events.server import SIGNING_KEYS_ROTATED
from lyftdata.core.records import AuditEvent, SigningKeyRecord
from lyftdata.core.times import format_time
from lyftdata.log import emit, get_logger
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import signing_keys

_log = get_logger(__name__)

# A retired key removed by a peer whose clock is ahead must not be mistaken for a withdrawn one.
_MAX_SKEW = timedelta(minutes=5)


class SigningKeys:
    """
    The current keys. Call `refresh()` before first use and periodically: it performs the steps that are due by the rotation plan.

    `signer`, `verification_keys`, `removals` and `withdrawals` are plain attributes: the token path reads nothing else.

    Args:
        keys_withdrawn: Called when keys have been withdrawn, here or at a peer: sessions that began with a token signed by one
         must authenticate again.
    """

    signer: SigningKey
    verification_keys: Mapping[str, VerificationKey]
    jwks: bytes
    """The JWK Set as published (RFC 7517), JSON."""
    next_signs_from: datetime | None
    """When the next key starts to sign; None if there is no next key."""
    removals: int
    """How often keys were removed for any reason: results of token checks that were cached before the last time are void."""
    withdrawals: int
    """How often keys were withdrawn."""
    withdrawn_at: datetime | None
    """When keys were last withdrawn while this Server ran."""

    def __init__(
        self,
        *,
        store: Store,
        kek: bytes,
        algorithm: str,
        policy: RotationPolicy,
        clock: Clock,
        random_bytes: RandomBytes,
        keys_withdrawn: Callable[[], None],
    ) -> None:
        self._store = store
        self._kek = kek
        self._algorithm = algorithm
        self._policy = policy
        self._clock = clock
        self._random_bytes = random_bytes
        self._keys_withdrawn = keys_withdrawn
        self._decrypted: dict[str, SigningKey] = {}
        self._records: list[SigningKeyRecord] = []
        # Use of a withdrawn key: of two loads at once, the one that began first could end last, and bring the key back.
        self._loading = asyncio.Lock()
        self._has_unread = False
        self.removals = 0
        self.withdrawals = 0
        self.withdrawn_at = None

    async def refresh(self) -> None:
        """
        Perform the steps that are due by the rotation plan, and load the current keys.

        Raises:
            KeyDecryptionError: The Server's secret key is not the one these keys were encrypted with.
        """
        async with self._loading:
            records = await self._store.read(signing_keys.all_signing_keys)
            if _has_due_steps(self._plan(records)):
                records = await self._store.write(self._apply_due_steps)
            self._take(records)

    def note_change(self) -> None:
        """Record that the keys were changed, here or at a peer, so that `catch_up` loads them."""
        self._has_unread = True

    async def catch_up(self) -> None:
        """
        Load the keys if they were changed since the last load; raises like `refresh`.

        Called when they were changed, a few times a second in case that failed, and before an unknown token is refused (`Store.refresh`).
        """
        async with self._loading:
            if not self._has_unread:
                return
            # Before the query: a change that is published during it causes another one.
            self._has_unread = False
            try:
                records = await self._store.read(signing_keys.all_signing_keys)
            except BaseException:
                self._has_unread = True
                raise
            self._take(records)

    async def read_all(self) -> list[SigningKeyRecord]:
        """Return every key, in the order in which they are used for signing."""
        return await self._store.read(signing_keys.all_signing_keys)

    async def publish_next(self, *, actor: Actor) -> None:
        """
        Publish the next key now; it signs in a day, when services that cache the JWKS have seen it.

        Raises:
            ConflictError: `signing_key_published`: there is a next key already.
        """

        def op(tx: WriteTx) -> list[SigningKeyRecord]:
            records, now = signing_keys.all_signing_keys(tx.conn), self._clock()
            active = active_key(records, now)
            for record in records:
                if record.signs_from > active.signs_from:
                    raise ConflictError(
                        "signing_key_published",
                        f"The next signing key is published, and signs from {format_time(record.signs_from)}.",
                        hint="`lyftdata keys rotate --now` makes it sign at once.",
                    )
            self._create(tx, signs_from=now + self._policy.publish_ahead, actor=actor)
            return signing_keys.all_signing_keys(tx.conn)

        async with self._loading:
            self._take(await self._store.write(op))

    async def rotate_now(
        self, *, withdraw: Collection[str], check: Callable[[WriteTx], None], actor: Actor
    ) -> None:
        """
        Let another key sign from now on: the next one if it is published, otherwise a new one.

        The previous key stays published for a day after its last token has expired, unless it is withdrawn: then tokens that it signed are
        refused here before this returns, and at peers within a second.

        Args:
            withdraw: The `kid` of each key to withdraw.
            check: Called in the transaction, before anything is changed; an exception from it aborts the rotation.
            actor: Who rotates.

        Raises:
            NotFoundError: `signing_key_not_found`; nothing is changed.
        """

        def op(tx: WriteTx) -> list[SigningKeyRecord]:
            records, now = signing_keys.all_signing_keys(tx.conn), self._clock()
            for kid in withdraw:
                if all(record.kid != kid for record in records):
                    raise NotFoundError("signing_key", kid)
            check(tx)
            active = active_key(records, now)
            published = [r for r in records if r.signs_from > active.signs_from and r.kid not in withdraw]
            if published:
                signing_keys.set_signs_from(tx, published[0].kid, now)
                tx.audit(
                    actor.audit_event("signing_key.activated", f"signing_key:{published[0].kid}", at=now)
                )
            else:
                self._create(tx, signs_from=now, actor=actor)
            for kid in withdraw:
                signing_keys.delete_signing_key(tx, kid)
                tx.audit(actor.audit_event("signing_key.withdrawn", f"signing_key:{kid}", at=now))
            return self._apply_due_steps(tx)

        async with self._loading:
            self._take(await self._store.write(op), withdrawn=withdraw)

    def _create(self, tx: WriteTx, *, signs_from: datetime, actor: Actor) -> None:
        created = self._make(signs_from)
        signing_keys.insert_signing_key(tx, created)
        tx.audit(actor.audit_event("signing_key.created", f"signing_key:{created.kid}", at=self._clock()))

    def _plan(self, records: list[SigningKeyRecord]) -> RotationPlan:
        return plan_rotation(records, now=self._clock(), policy=self._policy)

    def _apply_due_steps(self, tx: WriteTx) -> list[SigningKeyRecord]:
        """Apply the due steps of the rotation; planned again inside the transaction, since a peer may have applied them."""
        plan = self._plan(signing_keys.all_signing_keys(tx.conn))
        if plan.create:
            created = self._make(plan.create_signs_from or self._clock())
            signing_keys.insert_signing_key(tx, created)
            tx.audit(self._event("signing_key.created", created.kid))
        for kid, retires_at in plan.retire:
            signing_keys.set_retires_at(tx, kid, retires_at)
            tx.audit(self._event("signing_key.retired", kid))
        for kid in plan.remove:
            signing_keys.delete_signing_key(tx, kid)
            tx.audit(self._event("signing_key.removed", kid))
        if _has_due_steps(plan):
            emit(_log, SIGNING_KEYS_ROTATED, at=self._clock().isoformat())
        return signing_keys.all_signing_keys(tx.conn)

    def _make(self, signs_from: datetime) -> SigningKeyRecord:
        key = generate_signing_key(self._algorithm)
        return SigningKeyRecord(
            kid=key.kid,
            algorithm=key.algorithm,
            encrypted_private_key=encrypt_signing_key(key, kek=self._kek, nonce=self._random_bytes(12)),
            created_at=self._clock(),
            signs_from=signs_from,
        )

    def _event(self, action: str, kid: str) -> AuditEvent:
        return AuditEvent(at=self._clock(), actor="server", action=action, subject=f"signing_key:{kid}")

    def _take(self, records: list[SigningKeyRecord], *, withdrawn: Collection[str] = ()) -> None:
        now = self._clock()
        keys = {record.kid: self._decrypt(record) for record in records}
        gone = [before for before in self._records if before.kid not in keys]
        is_withdrawn = bool(withdrawn) or any(_is_withdrawn(before, now) for before in gone)
        self._records = records
        self._decrypted = keys
        self.signer = keys[active_key(records, now).kid]
        self.next_signs_from = min((r.signs_from for r in records if r.signs_from > now), default=None)
        self.verification_keys = {kid: key.verification for kid, key in keys.items()}
        self.jwks = jwk_set(keys.values())
        # Leaked key: a thief can sign a token that is valid for years, so cached results must not outlive the key.
        self.removals += bool(gone)
        if is_withdrawn:
            self.withdrawals += 1
            self.withdrawn_at = now
            self._keys_withdrawn()

    def _decrypt(self, record: SigningKeyRecord) -> SigningKey:
        return self._decrypted.get(record.kid) or decrypt_signing_key(record, kek=self._kek)


def _is_withdrawn(gone: SigningKeyRecord, now: datetime) -> bool:
    """Return whether a key was removed before the end of its lifetime."""
    return gone.retires_at is None or now < gone.retires_at - _MAX_SKEW


def _has_due_steps(plan: RotationPlan) -> bool:
    return bool(plan.create or plan.retire or plan.remove)
