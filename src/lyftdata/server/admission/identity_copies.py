"""Records copies of identities, so that operators can decide about them."""

from datetime import timedelta

from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.records import IdentityCopyRecord
from lyftdata.core.refusals import IdentityClonedError
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import identity_copies

# A copy that waits asks every half a minute.
_TOUCH_EVERY = timedelta(minutes=1)


class IdentityCopies:
    """
    The copies that were refused.

    A caller that has no identity key cannot write here, and one that has can write as often as the refusal log gives it references.
    """

    def __init__(self, *, store: Store, clock: Clock, known_secrets: KnownSecrets) -> None:
        self._store = store
        self._clock = clock
        self._known_secrets = known_secrets

    async def record(self, refused: IdentityClonedError, *, reference: str) -> None:
        """
        Record a copy that was refused; durable when this returns.

        Args:
            refused: Why, with both hosts.
            reference: That of this refusal; the copy calls itself by the first one that it has read.
        """
        worker_id, now = refused.claimed_worker, self._clock()
        reference = refused.refused_as or reference
        known = await self._store.read(lambda conn: identity_copies.find_copy(conn, worker_id, reference))
        if known is None:
            found = IdentityCopyRecord(
                reference=reference,
                worker_id=worker_id,
                found_at=now,
                last_at=now,
                host=self._known_secrets.hide(refused.refused.host),
                address=refused.refused.address,
                other_host=self._known_secrets.hide(refused.accepted.host),
                other_address=refused.accepted.address,
            )
            await self._store.write(lambda tx: identity_copies.record_copy(tx, found))
        elif now - known.last_at >= _TOUCH_EVERY:
            await self._store.write(lambda tx: identity_copies.touch_copy(tx, worker_id, reference, at=now))
