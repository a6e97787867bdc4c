"""
Carries the state that an edit form was shown with, so that saving does not overwrite changes made since.

The form contains a fingerprint of each field's value (`seen`). When it is posted, an untouched field is ignored, and a
touched one is rejected if somebody else has changed it in the meantime: the form is shown again with the input and the
current value. Saving again replaces that.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lyftdata.core.errors import ConflictError
from lyftdata.server.admin.edits import CHANGED_MEANWHILE, fingerprint
from lyftdata.web.page import Page


class Edit(msgspec.Struct, frozen=True):
    """The fields to change, and the values that they must still have when the change is written."""

    changes: Mapping[str, Any]
    expected: Mapping[str, object]


def seal_fields(fields: Mapping[str, object]) -> str:
    """Return the fingerprints of the values that a form is shown with."""
    return " ".join(f"{name}:{fingerprint(value)}" for name, value in fields.items())


def read_edit(page: Page, *, current: Mapping[str, object], given: Mapping[str, object]) -> Edit:
    """
    Determine what a posted form changes.

    Args:
        page: The page of the form.
        current: The current values of the fields.
        given: The posted values, in the same form.

    Raises:
        ConflictError: `changed_meanwhile`, for a touched field whose value is no longer the one that the form was shown with.
    """
    seen = dict(part.split(":", 1) for part in page.form.words("seen") if ":" in part)
    touched = [name for name, value in given.items() if fingerprint(value) != seen.get(name)]
    page.touched = frozenset(touched)
    overtaken = [
        name
        for name in touched
        if name in seen and seen[name] != fingerprint(current[name]) and current[name] != given[name]
    ]
    if overtaken:
        raise ConflictError(
            CHANGED_MEANWHILE, _sentence({name: current[name] for name in overtaken}), hint=_HINT
        )
    return Edit(
        {name: given[name] for name in touched}, {name: current[name] for name in touched if name in seen}
    )


_HINT = "What you typed is kept below. Save again to replace it."


def _sentence(now: Mapping[str, object]) -> str:
    values = "; ".join(f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in now.items())
    return f"Nothing was saved: another operator has changed it. It is now: {values}."


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return (
                ",".join(f"{key}={text}" if text else str(key) for key, text in sorted(value.items()))
                or "none"
            )
        case list() | tuple():
            return ", ".join(map(str, value))[:300] or "none"
        case _:
            return str(value)
