"""Asks for confirmation before something is destroyed or disconnected."""

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lyftdata.cli.api import Api

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def confirm(question: str, *, yes: bool) -> None:
    """
    Ask for confirmation; without a terminal and without `--yes` nothing is done.

    Raises:
        click.UsageError: There is no terminal to ask on (exit 2).
        click.Abort: The answer was no (exit 1).
    """
    if yes:
        return
    require_terminal(question)
    click.confirm(question, abort=True, err=True)


def require_terminal(question: str) -> None:
    """Raise click.UsageError if there is no terminal to ask a question on."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{question} Nothing was done: there is no terminal to ask. Pass --yes to confirm."
        )


def confirm_existing(api: "Api", path: str, question: str, *, yes: bool) -> None:
    """
    Ask for confirmation after checking that the object exists, so that a mistyped name is reported first.

    Without a terminal and without `--yes`, no request is made either.

    Args:
        api: The Server.
        path: The API path of the object.
        question: The question.
        yes: Go on without asking; the next request shows whether the object exists.

    Raises:
        ApiError: It does not exist, or cannot be read.
        click.UsageError, click.Abort: As for `confirm`.
    """
    if not yes:
        require_terminal(question)
        api.get(path)
    confirm(question, yes=yes)


def confirm_listed(api: "Api", path: str, key: str, value: str, question: str, *, yes: bool) -> None:
    """
    Do the same for an object that can only be found in a list.

    Args:
        api: The Server.
        path: The API path of the list.
        key: The member that names the items.
        value: The name of the object.
        question: The question.
        yes: Go on without asking.

    Raises:
        click.ClickException: It is not in the list.
        ApiError, click.UsageError, click.Abort: As above.
    """
    if not yes:
        require_terminal(question)
        if all(item[key] != value for item in api.get(path)["items"]):
            raise click.ClickException(f"There is no '{value}' in {path.removeprefix('/')}.")
    confirm(question, yes=yes)
