"""Shows the progress of a long command on a terminal; prints nothing elsewhere."""

import contextlib
import sys
from collections.abc import Iterator

from lyftdata.core.progress import OnProgress, ignore_progress


@contextlib.contextmanager
def show_progress(*, wanted: bool = True) -> Iterator[OnProgress]:
    """
    Yield a progress callback: it shows a bar for each stage, with the time left, on standard error.

    Args:
        wanted: If false, nothing is shown.
    """
    if not wanted or not sys.stderr.isatty():
        yield ignore_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
    )
    # It disappears at the end, and at Ctrl-C, so that only the command's output stays on the terminal.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        stages: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total or None)
            bars.update(stages[stage], completed=done, total=total or None)

        yield report
