"""
Detects conflicting edits: compares the state that an editor saw with the current one when writing.

Without it the last save wins: of two operators who label the same Worker, one loses their labels without notice.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from lyftdata.core.errors import ConflictError

CHANGED_MEANWHILE = "changed_meanwhile"


def fingerprint(value: object) -> str:
    """Return a short digest of a field's value, independent of the order of a mapping's keys."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:24]


def check_unchanged(record: object, expected: Mapping[str, object] | None) -> None:
    """
    Raise ConflictError `changed_meanwhile` if a field of a record is not what the editor saw; None checks nothing.

    Call it within the transaction that writes the change.
    """
    changed = [name for name, value in (expected or {}).items() if getattr(record, name) != value]
    if changed:
        fields = " and ".join(name.replace("_", " ") for name in changed)
        raise ConflictError(
            CHANGED_MEANWHILE,
            f"Nothing was saved: the {fields} changed in the meantime.",
            hint="Load it again, and repeat the change.",
        )
