"""Applies one change to several Workers, and reports progress, failures and interruption."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lyftdata.cli.confirm import confirm, require_terminal
from lyftdata.cli.output import echo_err, print_json
from lyftdata.cli.progress import show_progress
from lyftdata.core.errors import SecondOperatorRequiredError

if TYPE_CHECKING:
    from lyftdata.cli.api import Api

EXIT_FAILED = 1


def confirm_workers(api: "Api", worker_ids: Sequence[str], *, one: str, several: str, yes: bool) -> None:
    """
    Ask once about all Workers after checking that each exists: a mistyped ID is reported before anything is changed.

    Args:
        api: The Server.
        worker_ids: The Workers.
        one: The question about one Worker, with `{}` for its ID.
        several: The question about several, with `{}` for their number.
        yes: Go on without asking.

    Raises:
        ApiError: A Worker does not exist.
        click.UsageError, click.Abort: As for `confirm`.
    """
    from lyftdata.cli.api import path_part

    question = one.format(worker_ids[0]) if len(worker_ids) == 1 else several.format(len(worker_ids))
    if not yes:
        require_terminal(question)
        for worker_id in _with_progress("Looking up", worker_ids):
            api.get(f"/workers/{path_part(worker_id)}")
    confirm(question, yes=yes)


def change_workers(
    worker_ids: Sequence[str], change: Callable[[str], Any], *, done: str, as_json: bool = False
) -> int:
    """
    Change each Worker, and print the result; with several, a failure of one does not stop the others.

    Args:
        worker_ids: The Workers.
        change: Changes the Worker with this ID; returns its new entry.
        done: What was done, such as "disabled".
        as_json: Print the entry of one Worker, or an array of entries for several.

    Returns:
        The exit code: 1 if one of several failed.

    Raises:
        ApiError: The only one failed, or the Server cannot be reached.
    """
    if len(worker_ids) == 1:
        entry = change(worker_ids[0])
        if as_json:
            print_json(entry)
        else:
            echo_err(f"Worker {worker_ids[0]} {done}")
        return 0
    entries = []
    try:
        for worker_id in _with_progress("Changing Workers", worker_ids):
            entry = _change_one(worker_id, change)
            if entry is not _FAILED:
                entries.append(entry)
    finally:
        # Also after Ctrl-C, and if the Server can no longer be reached.
        echo_err(f"{len(entries)} of {len(worker_ids)} Workers {done}")
    if as_json:
        print_json(entries)
    return 0 if len(entries) == len(worker_ids) else EXIT_FAILED


_FAILED = object()


def _change_one(worker_id: str, change: Callable[[str], Any]) -> Any:
    from lyftdata.cli.api import ApiError

    try:
        return change(worker_id)
    except ApiError as error:
        # Not an answer about this Worker: the others would fail in the same way. A second operator is asked once, not for each Worker.
        if error.problem_code in {"", SecondOperatorRequiredError.code}:
            raise
        echo_err(f"Error: {worker_id}: {error.message}")
        return _FAILED


def _with_progress(stage: str, worker_ids: Sequence[str]) -> Iterator[str]:
    with show_progress(wanted=len(worker_ids) > 1) as on_progress:
        for done, worker_id in enumerate(worker_ids):
            on_progress(stage, done, len(worker_ids))
            yield worker_id
