"""
Makes decisions wait until this Server has applied its peers' changes, or refuses them (503).

With several Servers, a peer may have revoked what this one still has in memory. So each request waits until this Server has recently
read the changes of its peers, which normally costs one comparison, and again right before the decision, since a body may take long to
arrive. If the database cannot be queried, the answer is 503: a Worker retries, here or at another Server.

Nor is a caller refused as unknown because it was faster than replication: a Worker may enroll at one Server and request its first
token from another a millisecond later.
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

# These routes concern only this process, not any Worker.
_ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})


class FreshnessMiddleware:
    """ASGI middleware: passes a request on once the state in memory is current."""

    def __init__(self, app: ASGIApp, store: Store, *, error_page: ErrorPage = no_page) -> None:
        self._app = app
        self._store = store
        self._error_page = error_page
        self._failures = FailureLog(_log, STATE_NOT_CURRENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on once the state is current, or answer 503."""
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

    TOCTOU: call this after every wait that a caller can prolong, such as for a body that trickles in; otherwise a caller could have
    a decision made on the state from before its revocation.

    Raises:
        StoreError: The database cannot be queried.
    """
    if not store.is_current():
        await store.refresh()


async def decide(store: Store, decision: Callable[[], T]) -> T:
    """
    Decide about a caller; before refusing an unproven one, read the latest changes of peers and decide again.

    Enumeration by timing: this is done for known and unknown callers, so that the response time reveals nothing.

    Raises:
        RefusedError: Raised by `decision`.
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
    """Return whether no unread change of a peer could reverse a refusal; if not, decide again, as `decide` does."""
    return refused.proved or not store.is_shared
