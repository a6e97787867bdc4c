"""
Makes decisions wait until this Server has applied its peers' changes, or refuses them (503).

With several Servers, a peer may have revoked what this one still has in memory. So each request waits until this Server has read
the changes of the others lately, which costs one comparison while all is well, and again right before the decision, since a body
may take its time to arrive. If the database cannot be queried either, the answer is 503: a Worker retries, here or elsewhere.

Nor is a caller refused as unknown because it was faster than replication: a Worker may enroll at one Server and ask another for
its first token a millisecond later.
"""

from collections.abc import Callable
from typing import TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from lyftdata.core.log_events.server import STATE_NOT_CURRENT
from lyftdata.core.refusals import RefusedError
from lyftdata.failure_log import FailureLog
from lyftdata.log import get_logger
from lyftdata.server.http.responses import ErrorPage, no_page, temporarily_unavailable
from lyftdata.store import Store, StoreError

_log = get_logger(__name__)

T = TypeVar("T")

# About this process only, not about any Worker.
_ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})


class FreshnessMiddleware:
    """ASGI middleware: passes a request on once the state in memory is current."""

    def __init__(self, app: ASGIApp, store: Store, *, error_page: ErrorPage = no_page) -> None:
        self._app = app
        self._store = store
        self._error_page = error_page
        self._failures = FailureLog(_log, STATE_NOT_CURRENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not self._store.is_current() and scope.get("path") not in _ALWAYS_ANSWERED:
            try:
                await ensure_current(self._store)
            except StoreError as error:
                self._failures.failed(problem=str(error))
                problem = "The Server cannot read its state."
                page = self._error_page(scope, StoreError(problem))
                if page is not None:
                    page.headers["Retry-After"] = "2"
                answer = page or temporarily_unavailable(problem, retry_after_s=2)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def ensure_current(store: Store) -> None:
    """
    Make sure that the state in memory is current.

    TOCTOU: to be called after every wait that a caller can prolong, such as for a body that trickles in; otherwise it could have a
    decision made on the state from before its revocation.

    Raises:
        StoreError: The database cannot be queried.
    """
    if not store.is_current():
        await store.refresh()


async def decide(store: Store, decision: Callable[[], T]) -> T:
    """
    Decide about a caller; before an unproven one is refused, read what other Servers have just changed, and decide again.

    Enumeration by timing: this is done for known and for unknown callers, so the time of the answer reveals nothing.

    Raises:
        RefusedError: As `decision` raises it.
        StoreError: The database cannot be queried.
    """
    await ensure_current(store)
    try:
        return decision()
    except RefusedError as refused:
        if is_conclusive(store, refused):
            raise
    await store.refresh(full=True)
    return decision()


def is_conclusive(store: Store, refused: RefusedError) -> bool:
    """Return whether no unread change of another Server could reverse a refusal; if not, decide again, as `decide` does."""
    return refused.proved or not store.is_shared
