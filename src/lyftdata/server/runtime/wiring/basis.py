"""What every part of the Server needs: settings, store, keys, clock."""

from datetime import datetime

import msgspec

from lyftdata.server.admin.audit_checkpoints import AuditCheckpoints
from lyftdata.server.admission.replay_file import KeptReplays
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.runtime.secret_keys import derive_key
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.wiring.part_types import PartTypes
from lyftdata.store import Store


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What every part is built from."""

    settings: ServerSettings
    store: Store
    checkpoints: AuditCheckpoints
    secret_key: bytes
    clock: Clock
    random_bytes: RandomBytes
    kept: KeptReplays | None
    started_at: datetime
    issuer: str
    previous_issuers: tuple[str, ...]
    part_types: PartTypes

    @property
    def issuers(self) -> tuple[str, ...]:
        """Return the issuers whose assertions and tokens are accepted."""
        return (self.issuer, *self.previous_issuers)

    @property
    def lost_before(self) -> datetime | None:
        """Assertions signed before this may have been used without a record. With several Servers the database has all records."""
        if self.store.is_shared:
            return None
        return self.started_at if self.kept is None else self.kept.lost_before

    def key(self, purpose: str) -> bytes:
        """Return the key derived from the secret key for a purpose."""
        return derive_key(self.secret_key, purpose=purpose)

    def nonce_key(self, purpose: str) -> bytes:
        """Return the key for one kind of nonce."""
        # A single Server uses a new key at each start: nonces from before it, and what was signed with them, become invalid.
        return self.key(purpose) if self.store.is_shared else self.random_bytes(32)
