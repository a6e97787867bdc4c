"""The list of open sessions, on the pages of operators and of one's own account."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lyftdata.core.records import AdminSessionRecord
from lyftdata.web.page import Page
from lyftdata.web.sorting import Order, Sorting, folded, in_order
from lyftdata.web.wording import describe_program

_VALUES: Mapping[str, Callable[[AdminSessionRecord], Any]] = {
    "who": lambda session: session.operator,
    "from": lambda session: session.address,
    "with": lambda session: folded(describe_program(session.user_agent)),
    "signed-in": lambda session: session.created_at,
    "ends": lambda session: session.expires_at,
}


def sort_sessions(
    page: Page, path: str, sessions: Iterable[AdminSessionRecord], **others: str
) -> tuple[Order, list[AdminSessionRecord]]:
    """
    Return sessions in the requested order; by default the latest first.

    Args:
        page: The page.
        path: Its path.
        sessions: The sessions.
        others: Parameters that the headings' links keep.
    """
    sorting = Sorting(
        path=path, columns=_VALUES, default="-signed-in", highest_first=("signed-in",), parameter="sessions"
    )
    order = sorting.read(page, **others)
    return order, in_order(sessions, order, _VALUES, tie=lambda session: session.id)
