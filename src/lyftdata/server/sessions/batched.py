"""
Splits routine writes into batches.

There is one writer: whatever an operator decides waits for the operation that is being written. A busy second of ten thousand
Workers would take it half a second in one piece; and while it computes, answers get every other turn alone.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 500


def in_parts(items: Iterable[T], *, at_once: int = _AT_ONCE) -> Iterator[list[T]]:
    """Yield what there is, so much of it at a time that the writer, or the event loop, is soon free for others."""
    rest = iter(items)
    while part := list(islice(rest, at_once)):
        yield part
