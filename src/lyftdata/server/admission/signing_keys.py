"""
The Server's signing keys: read, made, rotated, published.

The rules (when the next key is made, when it starts to sign, when the last one leaves the JWKS) are pure and
live in `core.keyring`; here they meet the store.
"""

from collections.abc import Mapping
from datetime import datetime

from lyftdata.core.discovery import jwk_set
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
from lyftdata.log import emit, get_logger
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import signing_keys

_log = get_logger(__name__)


class SigningKeys:
    """
    The keys in force. Call `refresh()` before first use, and now and then: it does what the plan says is due.

    `signer` and `verification_keys` are plain attributes: the token path reads them and nothing else.
    """

    signer: SigningKey
    verification_keys: Mapping[str, VerificationKey]
    jwks: bytes
    """The JWK Set as published (RFC 7517), JSON."""
    next_signs_from: datetime | None
    """When the next key starts to sign, if there is one already."""

    def __init__(
        self,
        *,
        store: Store,
        kek: bytes,
        algorithm: str,
        policy: RotationPolicy,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._kek = kek
        self._algorithm = algorithm
        self._policy = policy
        self._clock = clock
        self._random_bytes = random_bytes
        self._decrypted: dict[str, SigningKey] = {}

    async def refresh(self) -> None:
        """
        Carry out what the rotation plan says is due, and take the keys in force.

        Raises:
            KeyDecryptionError: The Server's secret key is not the one these keys were encrypted with.
        """
        records = await self._store.read(signing_keys.all_signing_keys)
        if _is_something_due(self._plan(records)):
            records = await self._store.write(self._carry_out)
        self._take(records)

    async def read(self) -> None:
        """Take the keys in force, which another Server has changed; raises as `refresh`."""
        self._take(await self._store.read(signing_keys.all_signing_keys))

    def _plan(self, records: list[SigningKeyRecord]) -> RotationPlan:
        return plan_rotation(records, now=self._clock(), policy=self._policy)

    def _carry_out(self, tx: WriteTx) -> list[SigningKeyRecord]:
        """Do what is due; planned again inside the transaction, since another Server may just have done it."""
        plan = self._plan(signing_keys.all_signing_keys(tx.conn))
        if plan.create:
            created = self._make(plan)
            signing_keys.insert_signing_key(tx, created)
            tx.audit(self._event("signing_key.created", created.kid))
        for kid, retires_at in plan.retire:
            signing_keys.set_retires_at(tx, kid, retires_at)
            tx.audit(self._event("signing_key.retired", kid))
        for kid in plan.remove:
            signing_keys.delete_signing_key(tx, kid)
            tx.audit(self._event("signing_key.removed", kid))
        if _is_something_due(plan):
            emit(_log, SIGNING_KEYS_ROTATED, at=self._clock().isoformat())
        return signing_keys.all_signing_keys(tx.conn)

    def _make(self, plan: RotationPlan) -> SigningKeyRecord:
        now = self._clock()
        key = generate_signing_key(self._algorithm)
        return SigningKeyRecord(
            kid=key.kid,
            algorithm=key.algorithm,
            encrypted_private_key=encrypt_signing_key(key, kek=self._kek, nonce=self._random_bytes(12)),
            created_at=now,
            signs_from=plan.create_signs_from or now,
        )

    def _event(self, action: str, kid: str) -> AuditEvent:
        return AuditEvent(at=self._clock(), actor="server", action=action, subject=f"signing_key:{kid}")

    def _take(self, records: list[SigningKeyRecord]) -> None:
        keys = {record.kid: self._decrypt(record) for record in records}
        self._decrypted = keys
        self.signer = keys[active_key(records, self._clock()).kid]
        now = self._clock()
        self.next_signs_from = min((r.signs_from for r in records if r.signs_from > now), default=None)
        self.verification_keys = {kid: key.verification for kid, key in keys.items()}
        self.jwks = jwk_set(keys.values())

    def _decrypt(self, record: SigningKeyRecord) -> SigningKey:
        return self._decrypted.get(record.kid) or decrypt_signing_key(record, kek=self._kek)


def _is_something_due(plan: RotationPlan) -> bool:
    return bool(plan.create or plan.retire or plan.remove)
