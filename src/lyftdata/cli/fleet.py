"""`lyftdata fleet`: tells whether every Worker that is expected is connected."""

from typing import Any

import click

from lyftdata.cli.output import echo, emit, json_option, url_option
from lyftdata.core.text import clean_text

_EXIT_INCOMPLETE = 1


@click.group()
def fleet() -> None:
    """
    See whether the fleet is complete.

    \b
    Example:
      lyftdata fleet status
    """


@fleet.command()
@click.option("--check", is_flag=True, help="Exit 1 unless every expected Worker is connected.")
@json_option
@url_option
def status(url: str | None, *, check: bool, as_json: bool) -> None:
    """
    Tell how many of the expected Workers are connected, and what those that were lost have in common.

    Expected are enabled Workers that were connected within seven days and have no label always=no.

    \b
    Example:
      lyftdata fleet status
      lyftdata fleet status --check || lyftdata workers list --presence missing
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/fleet")
    emit(found, as_json=as_json, show=_show)
    if check and found["level"] not in {"good", "none"}:
        raise click.exceptions.Exit(_EXIT_INCOMPLETE)


def _show(found: dict[str, Any]) -> None:
    echo(f"{clean_text(found['title'], 500)}.")
    if found["detail"]:
        echo(clean_text(found["detail"], 1_000))
