"""`lyftdata servers`: lists the Servers that share the state."""

from typing import Any

import click

from lyftdata.cli.output import emit, json_option, print_table, url_option, when


@click.group()
def servers() -> None:
    """
    See which Servers share the state (PostgreSQL).

    \b
    Example:
      lyftdata servers list
    """


@servers.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List the Servers, by when they started. One without a heartbeat for five seconds counts as dead.

    \b
    Example:
      lyftdata servers list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/servers")["items"]
    emit(found, as_json=as_json, show=_show_table)


def _show_table(found: list[dict[str, Any]]) -> None:
    columns = ("id", "host", "listens at", "version", "started", "heartbeat", "answered")
    rows = [
        (
            server["id"],
            server["host"],
            server["address"],
            server["version"],
            when(server["started_at"]),
            when(server["last_heartbeat_at"]),
            "this one" if server["is_this"] else "",
        )
        for server in found
    ]
    print_table(columns, rows, empty="No Server.")
