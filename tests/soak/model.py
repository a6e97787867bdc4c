"""The expected state of the fleet, from what the Servers have acknowledged."""

import dataclasses
import time
from collections.abc import Callable, Iterator

_FOREVER = float("inf")


@dataclasses.dataclass
class Entry:
    """
    The expected state of a Worker.

    `out_since_s` is when the Server acknowledged that it is cut off, by the monotonic clock; infinite while it may connect.
    """

    worker_id: str
    is_agent: bool
    team: str | None
    credential: str
    is_disabled: bool = False
    is_removed: bool = False
    is_revoked: bool = False
    disabled_until_h: int | None = None
    out_since_s: float = _FOREVER

    @property
    def may_connect(self) -> bool:
        """Return whether it must be admitted."""
        return not (self.is_disabled or self.is_removed or self.is_revoked)


class Model:
    """Every acknowledged Worker, by ID."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Add a Worker that the Server has acknowledged."""
        self.entries[entry.worker_id] = entry

    def change(self, entry: Entry, **changes: object) -> None:
        """Record what the Server has just acknowledged about a Worker."""
        was_in = entry.may_connect
        for name, value in changes.items():
            setattr(entry, name, value)
        if was_in and not entry.may_connect:
            entry.out_since_s = time.monotonic()
        elif entry.may_connect:
            entry.out_since_s = _FOREVER

    def select(self, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """Return the matching Workers, in the order in which they were added."""
        return [entry for entry in self.entries.values() if wanted(entry)]

    def light(self) -> Iterator[Entry]:
        """Yield the light Workers."""
        return (entry for entry in self.entries.values() if not entry.is_agent)
