"""
The order of the lists of pages: which orders a list has, which one its address asks for, and where the heading of each column leads.

The address is all that says it, as `sort=name` or, reversed, `sort=-name`: a link, a bookmark and a page that renews itself have the
same order. What there is no such order for is rejected.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from lyftdata.core.query_values import fold
from lyftdata.web.page import Page

T = TypeVar("T")


class Heading(msgspec.Struct, frozen=True):
    """The heading of a column: the address of the order that it leads to, and `ascending`, `descending` or "" for the present one."""

    address: str
    direction: str


class Order(msgspec.Struct, frozen=True):
    """
    The order of a list as it is shown.

    Attributes:
        column: By which column.
        descending: Whether it is reversed.
        parameters: What brings back the list as it is, its filters too: for the links to its other pages, and for what renews it.
        headings: Those of all columns, by their names.
    """

    column: str
    descending: bool
    parameters: Mapping[str, str]
    headings: Mapping[str, Heading]


class Sorting(msgspec.Struct, frozen=True, kw_only=True):
    """
    The orders that a list has.

    Attributes:
        path: Of the page.
        columns: Their names.
        default: The order without a parameter, with "-" in front if it is reversed.
        highest_first: The columns of which one looks for the latest, or the most: they are reversed first.
        parameter: Its name in the address.
    """

    path: str
    columns: Collection[str]
    default: str
    highest_first: Collection[str] = ()
    parameter: str = "sort"

    def choice(self, page: Page) -> str:
        """
        Return the order that is asked for, with "-" in front if it is reversed.

        Raises:
            InvalidInputError: There is no such order.
        """
        known = [f"{sign}{column}" for column in self.columns for sign in ("", "-")]
        return page.choice(self.parameter, known) or self.default

    def read(self, page: Page, /, **others: str) -> Order:
        """
        Return the order that is asked for; raises InvalidInputError.

        Args:
            page: The page.
            others: The parameters that the links of the headings keep, such as a filter; the empty ones are left out.
        """
        return self.order(self.choice(page), **others)

    def order(self, chosen: str, /, **others: str) -> Order:
        """Return one of the orders."""
        kept = {name: text for name, text in others.items() if text}
        own = {} if chosen == self.default else {self.parameter: chosen}
        return Order(
            column=chosen.removeprefix("-"),
            descending=chosen.startswith("-"),
            parameters=kept | own,
            headings={column: self._heading(column, chosen, kept) for column in self.columns},
        )

    def _heading(self, column: str, chosen: str, kept: Mapping[str, str]) -> Heading:
        """Return where a heading leads: to the order by its column, and from there to the reverse."""
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
    Return the rows of a list in an order; those without a value come last in both directions.

    Args:
        rows: The rows.
        order: Which order.
        values: What each column sorts by, None for nothing.
        tie: What puts equal rows in order, the same in both directions.
    """
    value = values[order.column]
    valued = [(value(row), row) for row in sorted(rows, key=tie)]
    found = [pair for pair in valued if pair[0] is not None]
    found.sort(key=lambda pair: pair[0], reverse=order.descending)
    return [row for _, row in found] + [row for own, row in valued if own is None]


def place_in(*values: str) -> Callable[[str | None], int]:
    """Return what sorts texts as they are listed here, such as states, and any other after them."""
    places = {value: place for place, value in enumerate(values)}
    return lambda text: places.get(text or "", len(places))


def folded(texts: Sequence[str] | str | None) -> Any:
    """Return what sorts a text, or several, without the difference of upper and lower case; None for none."""
    if not texts:
        return None
    return fold(texts) if isinstance(texts, str) else [fold(text) for text in texts]
