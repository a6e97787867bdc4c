"""Reports the progress of long-running operations."""

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Called with the stage, the amount done, and the total, which is 0 if it is not known."""


def ignore_progress(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""
