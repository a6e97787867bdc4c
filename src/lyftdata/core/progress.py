"""Reports the progress of long-running operations."""

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is; 0 if that is not known."""


def ignore_progress(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""
