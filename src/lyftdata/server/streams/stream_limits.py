"""
Limits the number of long answers: event streams and exports.

A slot is taken in the step in which the limit is checked. Counting what runs and adding to it later, when the answer
begins, would let a burst of requests through that all counted before the first was added.
"""

from collections import Counter
from collections.abc import AsyncIterable, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Slot:
    """One of the places that are taken; to be released once, by the response that holds it."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Let another have the place; releasing twice is releasing once."""
        release, self._release = self._release, None
        if release is not None:
            release()


class StreamLimiter:
    """
    So many at once in all, and so many of one operator.

    Args:
        total: Of all operators.
        per_operator: Of one; no operator can use up the streams of all.
    """

    def __init__(self, *, total: int, per_operator: int) -> None:
        self._total = total
        self._per_operator = per_operator
        self._taken: Counter[str] = Counter()

    def take(self, operator: str) -> Slot | None:
        """Take a slot; None if the operator has as many as they may have, or all are taken."""
        if self._taken[operator] >= self._per_operator or self._taken.total() >= self._total:
            return None
        self._taken[operator] += 1
        return Slot(lambda: self._release(operator))

    def taken(self) -> int:
        """Return how many are taken."""
        return self._taken.total()

    def _release(self, operator: str) -> None:
        self._taken[operator] -= 1
        if not self._taken[operator]:
            del self._taken[operator]


class SlotResponse(StreamingResponse):
    """
    A streamed answer that gives something back at its end, however it ends.

    The stream's own `finally` is not enough: it never runs if the client has gone before the first piece was asked for.
    """

    def __init__(
        self,
        content: AsyncIterable[bytes],
        *,
        release: Callable[[], None],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()
