"""Gets tokens for a Worker that was renamed on the Server, which must confirm the configured name."""

import msgspec

from lyftdata.client.errors import WorkerAuthError
from lyftdata.client.server_source import TokenSource
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.strategy import StoredIdentity, worker_name_mismatch
from lyftdata.core.text import clean_text
from lyftdata.core.tokens import unsafe_worker_name


class UnconfirmedName(msgspec.Struct, frozen=True):
    """The configured name of a host, and the identity in its directory, which has another name."""

    given: str
    identity: StoredIdentity


class ConfirmedNameSource:
    """
    Takes tokens from another source, the first one only if it carries the configured name.

    Later tokens are not checked: a Worker that is renamed again while it runs keeps running.

    Args:
        source: The source of the tokens.
        unconfirmed: The name that the first token must confirm.
    """

    def __init__(self, source: TokenSource, unconfirmed: UnconfirmedName) -> None:
        self.new_for_s = source.new_for_s
        self.max_retry_s = source.max_retry_s
        self._source = source
        self._unconfirmed: UnconfirmedName | None = unconfirmed

    def fetch(self, *, rejected: str | None = None) -> TokenReply:
        """Get a token; raises as `TokenSource.fetch`."""
        return self._confirm(self._source.fetch(rejected=rejected))

    async def afetch(self, *, rejected: str | None = None) -> TokenReply:
        """Get a token; raises as `TokenSource.fetch`."""
        return self._confirm(await self._source.afetch(rejected=rejected))

    def _confirm(self, reply: TokenReply) -> TokenReply:
        if self._unconfirmed is not None:
            given, identity = self._unconfirmed.given, self._unconfirmed.identity
            current = unsafe_worker_name(reply.access_token)
            if current != given:
                problem = worker_name_mismatch(
                    given, clean_text(current, 64) or identity.worker_name, identity
                )
                raise WorkerAuthError(problem.message) from problem
            self._unconfirmed = None
        return reply
