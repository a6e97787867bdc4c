"""The option that limits an operator or an API token to Workers with certain labels."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_label_text
from lyftdata.core.records import Labels

Command = TypeVar("Command", bound=Callable[..., Any])


def scope_option(help_text: str) -> Callable[[Command], Command]:
    """Return the repeatable option `--label`; the parameter is `labels`."""
    return click.option(
        "--label", "labels", metavar="KEY=VALUE", multiple=True, help=f"{help_text}; repeatable."
    )


def scope_field(labels: Sequence[str]) -> dict[str, Labels]:
    """
    Return the field of a request that limits something to labels; empty without labels.

    Raises:
        click.UsageError: A label breaks its rule, or a key is repeated (exit 2).
    """
    if not labels:
        return {}
    try:
        return {"scope": parse_label_text(",".join(labels))}
    except InvalidInputError as error:
        raise click.UsageError(f"--label {error.message}") from error
