"""
Counts the keys and values of Workers' labels.

Even a fleet of a hundred thousand has only a few: a search compares each of them once, instead of each Worker's.
"""

from collections import Counter

from lyftdata.core.query_values import TextPattern, positions_of
from lyftdata.core.records import Labels


class LabelTexts:
    """Every distinct key and value of the labels of some Workers."""

    def __init__(self) -> None:
        self._keys: Counter[str] = Counter()
        self._values: Counter[str] = Counter()

    def count(self, labels: Labels, step: int) -> None:
        """Count the labels of a Worker that is added (`step` 1) or removed (-1)."""
        for key, value in labels.items():
            _add(self._keys, key, step)
            _add(self._values, value, step)

    def keys_with(self, text: str) -> set[str]:
        """Return the keys that contain a case-folded text."""
        return _with(self._keys, text)

    def values_with(self, text: str) -> set[str]:
        """Return the values that contain a case-folded text."""
        return _with(self._values, text)


def _add(counter: Counter[str], text: str, step: int) -> None:
    counter[text] += step
    if not counter[text]:
        del counter[text]


def _with(counter: Counter[str], text: str) -> set[str]:
    texts = list(counter)
    return {texts[position] for position in positions_of(TextPattern((text,), is_whole=False), texts)}
