"""
The rules of `TokenKeeper`: the tokens it holds and what is due; without I/O and without a clock.

    0 ....... 2/3 of its lifetime    used
    2/3 ..... its expiry             used, while one caller gets the next one
    its expiry ...                   callers wait for the next one

A failed renewal is retried at growing intervals, and not before the Server's `Retry-After`; until the token expires no caller
notices.
"""

import math
from collections.abc import Callable

from lyftdata.client.errors import TokenUnavailableError, WorkerAuthError
from lyftdata.client.held_token import HeldToken
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.backoff import Backoff


class TokenState:
    """
    The present token, and what is due; times are passed in, from a monotonic clock.

    Args:
        chance: Returns a random number from 0 to below 1.
        new_for_s: A token younger than this is not replaced after a 401: the next one would be rejected too.
        max_retry_s: The longest pause after failures, unless the Server asks for a longer one.
    """

    def __init__(self, *, chance: Callable[[], float], new_for_s: float, max_retry_s: float) -> None:
        self._chance = chance
        self._new_for_s = new_for_s
        self._backoff = Backoff(random=chance, max_s=max_retry_s)
        self._token: HeldToken | None = None
        self._retry_at_s = -math.inf
        self._problem: WorkerAuthError | None = None

    def usable(self, now_s: float) -> str | None:
        """Return the token if it has not expired, otherwise None."""
        return self._token.text if self._token is not None and self._token.is_usable(now_s) else None

    def is_due(self, now_s: float) -> bool:
        """Return whether it is time to request the next token."""
        return (self._token is None or self._token.is_due(now_s)) and now_s >= self._retry_at_s

    def may_replace(self, rejected: str, now_s: float) -> bool:
        """
        Return whether to request another token because a service rejected this one.

        Not if another caller has done so already, and not if the token is new: a service that rejects every token must not cause a token
        request for each of its own. The present token is kept for services that accept it.
        """
        return (
            self._token is not None
            and rejected == self._token.text
            and now_s >= self._token.got_at_s + self._new_for_s
            and now_s >= self._retry_at_s
        )

    def take(self, reply: TokenReply, *, asked_at_s: float) -> None:
        """Keep a token."""
        self._token = HeldToken(reply, monotonic_s=asked_at_s, jitter=self._chance())
        self._retry_at_s = -math.inf
        self._backoff.reset()

    def failed(self, problem: WorkerAuthError, *, now_s: float) -> None:
        """Record that no token could be obtained."""
        # A copy: the frames in the error's traceback hold what was sent.
        self._problem = problem.copy()
        self._retry_at_s = now_s + self._backoff.next_s(retry_after_s=problem.retry_after_s)

    def get(self, now_s: float) -> str:
        """
        Return the present token.

        Raises:
            WorkerAuthError: There is none; says why the last attempt to get one failed.
        """
        token = self.usable(now_s)
        if token is None:
            if self._problem is None:
                raise TokenUnavailableError("No token could be obtained in time.")
            raise self._problem.copy()
        return token
