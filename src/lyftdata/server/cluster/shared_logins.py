"""
Shares broker logins with peers: a broker may ask one Server at the login, and another one later.

Published a few times a second. A login lost in a crash of a Server is unknown to `Brokers.check_connection`, which then closes the
connections that an expired or revoked key may have opened.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from lyftdata.server.admission.brokers import Brokers, Login
from lyftdata.store import Store
from lyftdata.store.changes import Broadcast

_LOGINS = "logins"
_MAX_AT_ONCE = 200
_MAX_PENDING = 10_000


class SharedLogins:
    """Publishes the logins of Workers at this Server to its peers."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        # Each only once: a Worker that logs in endlessly has nothing new to publish.
        self._pending: dict[Login, None] = {}

    def note(self, login: Login) -> None:
        """Record a login, to be published with the next flush."""
        if len(self._pending) < _MAX_PENDING:
            self._pending[login] = None

    async def flush(self) -> None:
        """Publish to peers; what cannot be published stays pending."""
        while self._pending:
            part = list(islice(self._pending, _MAX_AT_ONCE))
            logins = [[login.resource, login.worker_id, login.credential, login.token] for login in part]
            broadcast = Broadcast(_LOGINS, {"by": self._store.server_id, "logins": logins})
            await self._store.write(lambda tx, broadcast=broadcast: tx.changed(broadcast))  # type: ignore[misc]
            for login in part:
                self._pending.pop(login, None)


class PeerLogins:
    """
    Receives the logins of Workers at peers.

    Args:
        brokers: Remembers logins.
        own_id: ID of this Server, whose own broadcasts are ignored.
    """

    def __init__(self, *, brokers: Brokers, own_id: str) -> None:
        self._brokers = brokers
        self._own_id = own_id

    def receive(self, topic: str, body: Mapping[str, Any]) -> None:
        """Apply the logins in a broadcast."""
        if topic == _LOGINS and body.get("by") != self._own_id:
            for resource, worker_id, credential, token in body["logins"]:
                self._brokers.remember(Login(resource, worker_id, credential, token))
