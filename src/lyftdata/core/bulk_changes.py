"""
Changes of many Workers at once, and the seal that limits a change to the Workers that the operator was shown.

Attack, or accident: between viewing and confirming, one Worker leaves a search and another enters it. Comparing their number is
not enough: a change carries a tag of each Worker that was shown, and changes no other.
"""

import hashlib
from collections.abc import Collection
from datetime import timedelta
from enum import StrEnum

from lyftdata.core.encoding import base64url

MAX_BY_SEARCH = 5_000
CHANGED = "workers.changed"
"""The audit event of a change of many Workers."""
CREATED = "workers.created"
"""The audit event of many Workers that were added at once."""
UNDO_WITHIN = timedelta(minutes=15)
"""How long a change can be undone: later, Workers have reconnected or were replaced."""
_TAG_BYTES = 9
_TAG_LENGTH = 12


class BulkAction(StrEnum):
    """What can be done to many Workers at once; `label` adds labels and keeps the others."""

    DISABLE = "disable"
    ENABLE = "enable"
    DELETE = "delete"
    LABEL = "label"
    ROTATE_KEY = "rotate-key"


REVERSIBLE = frozenset({BulkAction.DISABLE, BulkAction.ENABLE, BulkAction.LABEL})
"""A deleted entry or a replaced key cannot be restored."""


def seal_match(worker_ids: Collection[str]) -> str:
    """Return the fingerprint of a set of Workers: a tag of 12 characters for each, sorted."""
    return "".join(sorted(map(_tag, worker_ids)))


def is_within(worker_ids: Collection[str], sealed: str) -> bool:
    """Return whether the set with this fingerprint contains all of these Workers; others in it may be gone."""
    known = {sealed[at : at + _TAG_LENGTH] for at in range(0, len(sealed), _TAG_LENGTH)}
    return all(_tag(worker_id) in known for worker_id in worker_ids)


def _tag(worker_id: str) -> str:
    # 72 bits: an ID with the tag of another ID cannot be constructed.
    return base64url(hashlib.sha256(f"worker {worker_id}".encode()).digest()[:_TAG_BYTES])
