"""
Makes decisions wait until this Server has applied its peers' changes, or refuses them (503).

With several Servers, each request waits until this Server has read its peers' recent changes; in normal operation that
costs one comparison. It is checked again right before the decision: a body may take its time to arrive. If the database cannot be asked either, the answer is 503: a Worker comes back, here or elsewhere.

And a caller is not refused as unknown because it reached this Server before the change that added it: a Worker enrolls at one
Server and asks another for its first token a millisecond later.
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

# What says how this process is, and nothing about anybody.
_ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})


class FreshnessMiddleware:
    """ASGI middleware: lets a request through once what is in memory may be trusted."""

    def __init__(self, app: ASGIApp, store: Store, *, error_page: ErrorPage = no_page) -> None:
        self._app = app
        self._store = store
        self._error_page = error_page
        self._failures = FailureLog(_log, STATE_NOT_CURRENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not self._store.hears() and scope.get("path") not in _ALWAYS_ANSWERED:
            try:
                await hear(self._store)
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


async def hear(store: Store) -> None:
    """
    Make sure that what is in memory may be trusted, after something was waited for that a caller can draw out.

    Raises:
        StoreError: It may not.
    """
    if not store.hears():
        await store.catch_up()


async def decide(store: Store, decision: Callable[[], T]) -> T:
    """
    Return what is decided about a caller; before a stranger is refused, what other Servers have just changed is asked for.

    The same is done for unproven callers, known or not: the time of the answer tells nothing.

    Raises:
        RefusedError: As `decision` raises it.
        StoreError: What other Servers have changed cannot be known.
    """
    await hear(store)
    try:
        return decision()
    except RefusedError as refused:
        if is_conclusive(store, refused):
            raise
    await store.catch_up(full=True)
    return decision()


def is_conclusive(store: Store, refused: RefusedError) -> bool:
    """Return whether no word of another Server can make a refusal wrong; else it must be decided again, as `decide` does."""
    return refused.proved or not store.is_shared
