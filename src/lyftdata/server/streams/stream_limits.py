"""
Limits the number of long-running responses: event streams and exports.

A slot is taken in the same step in which the limit is checked. Counting first and adding later, when the response
begins, would let through a burst of requests that all counted before the first was added.
"""

from collections import Counter
from collections.abc import AsyncIterable, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Slot:
    """A slot in use; the response that holds it must release it."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Free the slot; may be called twice."""
        release, self._release = self._release, None
        if release is not None:
            release()


class StreamLimiter:
    """
    Limits streams in total and per operator.

    Args:
        total: Of all operators together.
        per_operator: Of one operator, who cannot use up all streams.
    """

    def __init__(self, *, total: int, per_operator: int) -> None:
        self._total = total
        self._per_operator = per_operator
        self._taken: Counter[str] = Counter()

    def take(self, operator: str) -> Slot | None:
        """Take a slot; None if the operator has too many, or none is left."""
        if self._taken[operator] >= self._per_operator or self._taken.total() >= self._total:
            return None
        self._taken[operator] += 1
        return Slot(lambda: self._release(operator))

    def taken(self) -> int:
        """Return how many are in use."""
        return self._taken.total()

    def _release(self, operator: str) -> None:
        self._taken[operator] -= 1
        if not self._taken[operator]:
            del self._taken[operator]


class SlotResponse(StreamingResponse):
    """
    A streamed response that releases a slot at its end, however it ends.

    The stream's own `finally` is not enough: it never runs if the client has gone before the first piece is requested.
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
