"""
Splits routine writes into batches.

There is only one writer: an operator's change waits for the operation being written. Written in one piece, a busy second of ten
thousand Workers would take half a second, and while it is computed, responses only get every other turn of the event loop.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 500


def in_parts(items: Iterable[T], *, at_once: int = _AT_ONCE) -> Iterator[list[T]]:
    """Yield the items in batches, small enough for the writer, or the event loop, to serve others in between."""
    rest = iter(items)
    while part := list(islice(rest, at_once)):
        yield part
