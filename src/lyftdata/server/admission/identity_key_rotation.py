"""
Rotates the identity key of a Worker in two steps, so that a crash of either side at any point leaves it one valid key.

     agent                                      Server
     1. writes the new key next to the current one
     2. sends the new key, signed by the current -->  stores it; both keys are accepted from now on
     3. replaces the current key in its directory
     4. signs with the new key                   -->  the new key is the Worker's; the old one has ended

Each step may be repeated. Step 4 proves possession of the new private key, so step 2 requires no proof of it.
"""

from collections.abc import Mapping

import msgspec

from lyftdata.core.client_metadata import ClientMetadataError
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.identity_keys import PublicIdentityKey, parse_public_jwk
from lyftdata.core.records import AuditEvent, Strategy, WorkerRecord
from lyftdata.core.refusals import WrongAssertionError
from lyftdata.core.tokens import parse_credential
from lyftdata.server.admission.self_management import Registrations, require_unchanged, with_key_since
from lyftdata.server.admission.token_issuer import Admitted
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import workers


class IdentityKeyRotation:
    """
    Stores the next keys of Workers; each replaces the current key when first used.

    Args:
        store: Holds the entries.
        registrations: Limits how often a Worker changes its entry.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, registrations: Registrations, clock: Clock) -> None:
        self._store = store
        self._registrations = registrations
        self._clock = clock

    async def register_next(
        self, worker: WorkerRecord, unverified: Mapping[str, object], *, address: str
    ) -> None:
        """
        Store the next key of a Worker that has authenticated with its current one; an earlier next key is replaced.

        Args:
            worker: The entry with which it was authenticated.
            unverified: The public key, as a JWK.
            address: Where the request came from.

        Raises:
            ClientMetadataError: Not a public key that the Server accepts.
            ConflictError: `identity_key_taken`.
            WrongTokenError: The entry has changed since the Worker was authenticated.
            TooManyChangesError: The Worker changes too often.
        """
        if worker.strategy is not Strategy.AUTO_ENROLLMENT:
            raise ClientMetadataError("next_key", "is only for a Worker that has an identity key")
        key = _parse(unverified)
        self._registrations.count_change(worker)

        def op(tx: WriteTx) -> None:
            current = require_unchanged(tx, worker)
            if key.thumbprint in {current.thumbprint, current.next_thumbprint}:
                # A retry: the response was lost.
                return
            if workers.find_by_thumbprint(tx.conn, key.thumbprint) is not None:
                raise ConflictError("identity_key_taken", "Another Worker has this key.")
            changed = msgspec.structs.replace(
                current, next_jwk=key.canonical_jwk, next_thumbprint=key.thumbprint
            )
            workers.replace_worker(tx, changed)
            tx.audit(self._event("worker.next_key_registered", current, address, {"next": key.thumbprint}))

        await self._store.write(op)

    async def complete(self, admitted: Admitted, *, address: str) -> Admitted:
        """
        If a Worker was just admitted with its next key, replace the current key with it; do nothing for another credential.

        Raises:
            WrongAssertionError: The key is no longer the next one.
        """
        if not admitted.completes_rotation:
            return admitted
        worker_id, thumbprint = admitted.worker.id, parse_credential(admitted.credential).value

        def op(tx: WriteTx) -> WorkerRecord:
            current = workers.find_worker(tx.conn, worker_id)
            if current is not None and current.thumbprint == thumbprint:
                # Another request has already done it.
                return current
            if current is None or current.next_thumbprint != thumbprint:
                raise WrongAssertionError(
                    "The key is no longer the Worker's next one.", claimed_worker=worker_id
                )
            changed = msgspec.structs.replace(current, public_jwk=current.next_jwk, thumbprint=thumbprint)
            changed = with_key_since(changed, self._clock())
            workers.replace_worker(tx, changed)
            details = {"from": str(current.thumbprint), "to": thumbprint}
            tx.audit(self._event("worker.key_rotated", current, address, details))
            return changed

        return msgspec.structs.replace(admitted, worker=await self._store.write(op))

    def _event(self, action: str, worker: WorkerRecord, address: str, details: dict[str, str]) -> AuditEvent:
        return AuditEvent(
            at=self._clock(),
            actor=f"worker:{worker.id}",
            action=action,
            subject=f"worker:{worker.id}",
            address=address,
            details=details,
        )


def _parse(unverified: Mapping[str, object]) -> PublicIdentityKey:
    try:
        return parse_public_jwk(unverified)
    except InvalidInputError as error:
        raise ClientMetadataError("next_key", error.message) from error
