"""The columns of the list of Workers: name and state always, the others as an operator chooses in each browser."""

from collections.abc import Mapping, Sequence

from lyftdata.web.cookies import read_columns
from lyftdata.web.page import Page

COLUMNS: Mapping[str, str] = {
    "host": "Host",
    "address": "Address",
    "version": "Version",
    "labels": "Labels",
    "key": "Key or secret",
    "strategy": "Strategy",
    "created": "Created",
    "seen": "Last seen",
}
"""The columns that can be chosen, in order."""
_USUAL = ("host", "address", "version", "labels", "key", "seen")


def chosen_columns(page: Page) -> Sequence[str]:
    """Return the columns that this operator sees, in the order of the table; unknown names in the cookie are ignored."""
    kept = read_columns(page.request, page.services, operator=page.actor.operator)
    wanted = _USUAL if kept is None else kept
    return [name for name in COLUMNS if name in wanted]
