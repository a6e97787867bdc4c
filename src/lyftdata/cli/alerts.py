"""`lyftdata alerts`: lists what needs attention, and snoozes alerts."""

from typing import Any

import click

from lyftdata.cli.output import echo_err, emit, json_option, print_table, url_option, when
from lyftdata.core.durations import parse_duration


@click.group()
def alerts() -> None:
    """
    See what needs attention, and snooze what can wait.

    \b
    Example:
      lyftdata alerts list
      lyftdata alerts snooze 3f9a1c20b7d4 --for 1h --note "the host is being moved"
    """


@alerts.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List what needs attention, the most pressing first, and then what is snoozed.

    \b
    Example:
      lyftdata alerts list --json
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/attention")
    emit(found, as_json=as_json, show=_show_table)


@alerts.command()
@click.argument("alert")
@click.option(
    "--for", "span", default="24h", show_default=True, metavar="TIME", help="For how long, at most 7d."
)
@click.option("--note", default="", help="Why, for other operators.")
@url_option
def snooze(alert: str, span: str, note: str, url: str | None) -> None:
    """
    Put off an ALERT, by its ID, for a time. It comes back by itself then, or when it gets worse.

    \b
    Example:
      lyftdata alerts snooze 3f9a1c20b7d4 --for 7d --note "waits for the new rack"
    """
    from lyftdata.cli.api import Api, path_part

    for_s = int(parse_duration(span).total_seconds())
    with Api(url) as api:
        api.post(f"/attention/{path_part(alert)}/snooze", {"for_s": for_s, "note": note})
    echo_err(f"Snoozed for {span}.")


@alerts.command()
@click.argument("alert")
@url_option
def unsnooze(alert: str, url: str | None) -> None:
    """
    End the snooze of an ALERT now.

    \b
    Example:
      lyftdata alerts unsnooze 3f9a1c20b7d4
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        api.post(f"/attention/{path_part(alert)}/unsnooze")
    echo_err("It is shown again.")


def _show_table(found: dict[str, Any]) -> None:
    rows = [(one["id"] or "-", one["kind"], one["title"], "-") for one in found["items"]]
    rows += [(one["id"], one["kind"], one["title"], _snoozed(one["snoozed"])) for one in found["snoozed"]]
    print_table(("id", "kind", "what", "snoozed"), rows, empty="Nothing needs attention.")


def _snoozed(snoozed: dict[str, Any]) -> str:
    note = f": {snoozed['note']}" if snoozed["note"] else ""
    return f"until {when(snoozed['until'])} by {snoozed['by']}{note}"
