"""
Sorts the lists of the pages by the column that the address names, and links the heading of each column.

The order is only in the address, as `sort=name` or, reversed, `sort=-name`, so a link, a bookmark and a live update keep it. An unknown
column is rejected.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from lyftdata.core.query_values import fold
from lyftdata.web.page import Page

T = TypeVar("T")


class Heading(msgspec.Struct, frozen=True):
    """The heading of a column: where it leads, and how the list is sorted by it now (`ascending`, `descending` or "")."""

    address: str
    direction: str


class Order(msgspec.Struct, frozen=True):
    """
    The order in which a list is shown.

    Attributes:
        column: The column that it is sorted by.
        descending: Whether the order is reversed.
        parameters: The query that shows this list again, filters included: for links to its other pages, and for live updates.
        headings: The heading of each column, by name.
    """

    column: str
    descending: bool
    parameters: Mapping[str, str]
    headings: Mapping[str, Heading]


class Sorting(msgspec.Struct, frozen=True, kw_only=True):
    """
    The columns that a list can be sorted by.

    Attributes:
        path: The path of the page.
        columns: The names of the columns.
        default: The order when the address names none, with "-" in front if it is reversed.
        highest_first: Columns that are sorted latest or highest first when their heading is first clicked.
        parameter: The query parameter that names the order.
    """

    path: str
    columns: Collection[str]
    default: str
    highest_first: Collection[str] = ()
    parameter: str = "sort"

    def choice(self, page: Page) -> str:
        """
        Return the requested order, with "-" in front if it is reversed.

        Raises:
            InvalidInputError: No such column.
        """
        known = [f"{sign}{column}" for column in self.columns for sign in ("", "-")]
        return page.choice(self.parameter, known) or self.default

    def read(self, page: Page, /, **others: str) -> Order:
        """
        Return the requested order; raises InvalidInputError.

        Args:
            page: The page.
            others: Parameters that the headings' links keep, such as a filter; empty ones are left out.
        """
        return self.order(self.choice(page), **others)

    def order(self, chosen: str, /, **others: str) -> Order:
        """Return the order for a column name, with "-" in front if it is reversed."""
        kept = {name: text for name, text in others.items() if text}
        own = {} if chosen == self.default else {self.parameter: chosen}
        return Order(
            column=chosen.removeprefix("-"),
            descending=chosen.startswith("-"),
            parameters=kept | own,
            headings={column: self._heading(column, chosen, kept) for column in self.columns},
        )

    def _heading(self, column: str, chosen: str, kept: Mapping[str, str]) -> Heading:
        """Return a column's heading: its link sorts by the column, or reverses the order if the list is already sorted by it."""
        first, second = column, f"-{column}"
        if column in self.highest_first:
            first, second = second, first
        direction = ""
        if chosen.removeprefix("-") == column:
            direction = "descending" if chosen.startswith("-") else "ascending"
        following = second if chosen == first else first
        own = {} if following == self.default else {self.parameter: following}
        return Heading(f"{self.path}?{urlencode({**kept, **own})}", direction)


def in_order(
    rows: Iterable[T], order: Order, values: Mapping[str, Callable[[T], Any]], *, tie: Callable[[T], Any]
) -> list[T]:
    """
    Return the rows in the given order; rows without a value come last in both directions.

    Args:
        rows: The rows.
        order: The order.
        values: The sort key of each column; it returns None for a row without a value.
        tie: The sort key for equal rows, the same in both directions.
    """
    value = values[order.column]
    valued = [(value(row), row) for row in sorted(rows, key=tie)]
    found = [pair for pair in valued if pair[0] is not None]
    found.sort(key=lambda pair: pair[0], reverse=order.descending)
    return [row for _, row in found] + [row for own, row in valued if own is None]


def place_in(*values: str) -> Callable[[str | None], int]:
    """Return a sort key that puts texts, such as states, in the order listed here, and any other text after them."""
    places = {value: place for place, value in enumerate(values)}
    return lambda text: places.get(text or "", len(places))


def folded(texts: Sequence[str] | str | None) -> Any:
    """Return a case-insensitive sort key for a text or a list of texts; None if there is none."""
    if not texts:
        return None
    return fold(texts) if isinstance(texts, str) else [fold(text) for text in texts]
