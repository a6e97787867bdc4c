"""
Records when and from which address API tokens were last used: collected in memory, written seldom.

A pipeline may send a hundred requests a second with one token; its displayed last use may be ten minutes old. A use from a different
address is written sooner, since it may be a thief's.
"""

from datetime import datetime, timedelta

from lyftdata.core.records import ApiTokenRecord
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import api_tokens

_WRITE_AFTER = timedelta(minutes=10)
# Requests that alternate between two addresses must not cause a write each.
_WRITE_ADDRESS_AFTER = timedelta(minutes=1)


class ApiTokenUses:
    """The last uses that are not yet written, by public id."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._pending: dict[str, tuple[datetime, str]] = {}

    def note(self, record: ApiTokenRecord, *, at: datetime, address: str) -> None:
        """Record a use, if the stored one is too old."""
        if record.last_used_at is not None:
            is_same = address == record.last_used_from
            if at - record.last_used_at < (_WRITE_AFTER if is_same else _WRITE_ADDRESS_AFTER):
                return
        self._pending[record.public_id] = (at, address)

    async def flush(self) -> None:
        """Write what is pending; what could not be written stays pending."""
        if not self._pending:
            return
        written = dict(self._pending)

        def op(tx: WriteTx) -> None:
            api_tokens.touch_last_used(tx, written)

        await self._store.write(op)
        self._pending = {token: use for token, use in self._pending.items() if written.get(token) != use}
