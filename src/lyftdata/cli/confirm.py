"""Asking before something is destroyed or cut off."""

import sys

import click

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def confirm(question: str, *, yes: bool) -> None:
    """
    Go on only if the person says so; without a terminal and without `--yes` nothing is done.

    Raises:
        click.UsageError: There is nobody to ask (exit 2).
        click.Abort: The answer was no (exit 1).
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{question} Nothing was done: there is no terminal to ask. Say --yes if you mean it."
        )
    click.confirm(question, abort=True, err=True)
