"""
Expands patterns that name many Workers: `press-[01-20]` is press-01, press-02, … press-20.

A pattern has one range in brackets, with optional text around it. The numbers are padded to the width of the first one.
"""

import re

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_worker_id, parse_worker_name

MAX_NAMES = 500
MAX_PATTERN = 80
"""Maximum length of a pattern: enough for a name of 64 characters with brackets."""

# Anything that looks like a range, so that `press-[1-]` is an error and not a Worker of that name.
_RANGE = re.compile(r"\[\s*(\w*)\s*-\s*(\w*)\s*\]")
_NUMBER = re.compile(r"[0-9]{1,9}")


def is_name_pattern(text: str) -> bool:
    """Return whether a text stands for several names: it has a range in brackets, well-formed or not."""
    return _RANGE.search(text) is not None


def expand_worker_names(pattern: str) -> list[str]:
    """
    Return the Worker names of a pattern, in order; no two are equal.

    Raises:
        InvalidInputError: For `name`: no range, more than one, a backwards one, too many names, or a name that breaks its rule.
    """
    return [parse_worker_name(text) for text in _expand("name", pattern)]


def expand_worker_ids(pattern: str, *, size: int) -> list[str]:
    """Return the IDs of a pattern that must stand for `size` Workers, in order; raises like `expand_worker_names`, for `id`."""
    ids = [parse_worker_id(text) for text in _expand("id", pattern)]
    if len(ids) != size:
        raise InvalidInputError("id", f"stands for {len(ids):,} Workers, and the name for {size:,}")
    return ids


def _expand(field: str, pattern: str) -> list[str]:
    if len(pattern) > MAX_PATTERN:
        raise InvalidInputError(field, f"must have at most {MAX_PATTERN} characters")
    ranges = list(_RANGE.finditer(pattern))
    if not ranges:
        raise InvalidInputError(field, "must hold a range of numbers in brackets, such as press-[01-20]")
    if len(ranges) > 1:
        raise InvalidInputError(field, "must hold one range in brackets, and this has more")
    found = ranges[0]
    # Before int(): \w matches digits of every script, and int() accepts thousands of them.
    if not all(_NUMBER.fullmatch(text) for text in found.groups()):
        raise InvalidInputError(
            field, "must hold a range of numbers of at most 9 digits, such as press-[01-20]"
        )
    first, last = map(int, found.groups())
    if last < first:
        raise InvalidInputError(field, f"must not hold a range that goes backwards: {found[0]}")
    size = last - first + 1
    if size > MAX_NAMES:
        raise InvalidInputError(
            field, f"must stand for at most {MAX_NAMES} Workers, and this stands for {size:,}"
        )
    width = len(found[1])
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [f"{before}{number:0{width}}{after}" for number in range(first, last + 1)]
