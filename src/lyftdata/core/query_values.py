"""The parsed values of a search and how they match: texts, versions, ages, and API keys with their generations."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Literal

import msgspec

from lyftdata.core.versions import Version, parse_version

Comparison = Literal["<", ">", "<=", ">="]


def fold(text: str) -> str:
    """Return a text in the form that searches compare, case-folded."""
    return text.casefold()


def fold_each(texts: Iterable[str]) -> list[str]:
    """Fold texts; many of them in half the time of calling `fold` on each."""
    return list(map(str.casefold, texts))


class TextPattern(msgspec.Struct, frozen=True):
    """
    A pattern to search for, split at its wildcards; with `is_whole` it must match the whole text and not a part of it.

    To match folded texts (`fold`), the pattern must be folded too.
    """

    parts: tuple[str, ...]
    is_whole: bool

    def matches(self, text: str) -> bool:
        """Return whether a text matches."""
        parts = self.parts
        if len(parts) == 1:
            return text == parts[0] if self.is_whole else parts[0] in text
        first, *middle, last = parts
        if not self.is_whole:
            first, middle, last = "", list(self.parts), ""
        if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
            return False
        begin, end = len(first), len(text) - len(last)
        for part in middle:
            found = text.find(part, begin, end)
            if found < 0:
                return False
            begin = found + len(part)
        return True


_SEPARATOR = "\n"


def positions_of(pattern: TextPattern, texts: Sequence[str]) -> list[int]:
    """
    Return the positions of the texts that match a folded pattern; the texts need not be folded.

    They are first folded and searched as one text: most of the time there is no match.
    """
    folded = fold(_SEPARATOR.join(texts))
    if not all(part in folded for part in pattern.parts):
        return []
    each = folded.split(_SEPARATOR)
    if len(each) != len(texts):
        # Hostile text: a host name may contain the separator.
        each = fold_each(texts)
    if len(pattern.parts) > 1 or pattern.is_whole:
        return [position for position, text in enumerate(each) if pattern.matches(text)]
    part = pattern.parts[0]
    return [position for position, text in enumerate(each) if part in text]


class Age(msgspec.Struct, frozen=True):
    """A condition on how long ago something was: `<1h` is less than an hour ago, `>7d` more than seven days."""

    comparison: Literal["<", ">"]
    span: timedelta


_COMPARISONS: Mapping[str, Callable[[Version, Version], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class VersionRange(msgspec.Struct, frozen=True):
    """
    The versions to find: those that compare so with `version`, or with ``""`` those in its series.

    The series of `1.4` includes `1.4`, `1.4.2` and `1.4.3rc1`.
    """

    comparison: Comparison | Literal["=", ""]
    version: Version
    given: tuple[int, ...]
    """Its numbers as typed, for `""`."""

    def matches(self, text: str) -> bool:
        """Return whether a version is in the range; text that is not a version never is."""
        version = parse_version(text)
        if version is None:
            return False
        if self.comparison == "":
            padded = version.numbers + (0,) * len(self.given)
            return padded[: len(self.given)] == self.given
        return _COMPARISONS[self.comparison](version, self.version)


Generation = int | Literal["current", "old"] | None


class KeyPattern(msgspec.Struct, frozen=True):
    """An API key by its name, and which of its generations; None for any."""

    name: TextPattern
    generation: Generation = None
