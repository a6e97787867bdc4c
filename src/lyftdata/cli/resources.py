"""`lyftdata resources`: manages the services for which Workers may get tokens."""

from pathlib import Path
from typing import Any

import click

from lyftdata.cli.confirm import confirm, confirm_existing, yes_option
from lyftdata.cli.output import (
    echo_err,
    emit,
    json_option,
    key_output,
    output_option,
    print_fields,
    print_json,
    print_table,
    url_option,
    when,
)
from lyftdata.core.text import clean_text


@click.group()
def resources() -> None:
    """
    Define services for which Workers may get tokens, and what they may do there.

    \b
    Example:
      lyftdata resources add broker --audience https://broker.example.com --scope read --label zone=eu-1
    """


def _selectors(command: Any) -> Any:
    for option in reversed(
        (
            click.option(
                "--scope", "scopes", multiple=True, help="A scope of the service; may be given several times."
            ),
            click.option("--worker", "worker_ids", multiple=True, metavar="ID", help="A Worker, by ID."),
            click.option("--name", "worker_names", multiple=True, help="Workers of this name."),
            click.option(
                "--label", "labels", multiple=True, help="Workers with this label: KEY or KEY=VALUE."
            ),
            click.option(
                "--all-workers/--not-all-workers", "for_all_workers", default=None, help="Every Worker."
            ),
            click.option(
                "--include-enrolled/--exclude-enrolled",
                "include_enrolled",
                default=None,
                help="Let names and labels include auto-enrolled Workers, which choose their own.",
            ),
        )
    ):
        command = option(command)
    return command


@resources.command()
@click.argument("name")
@click.option("--audience", required=True, help="The service's audience (aud) in tokens: its public URL.")
@_selectors
@json_option
@url_option
def add(name: str, audience: str, url: str | None, *, as_json: bool, **chosen: Any) -> None:
    """
    Define a service; unless you choose Workers, none may get a token for it.

    \b
    Example:
      lyftdata resources add broker --audience https://broker.example.com --scope read --worker press-01
    """
    from lyftdata.cli.api import Api

    body = {"name": name, "audience": audience} | _given(chosen)
    with Api(url) as api:
        added = api.post("/resources", body)
    emit(
        added,
        as_json=as_json,
        show=lambda found: echo_err(f"Resource added: {found['name']}, for {_workers(found)}"),
    )


@resources.command("set")
@click.argument("name")
@click.option("--audience", help="The service's audience (aud) in tokens: its public URL.")
@_selectors
@json_option
@url_option
def set_(name: str, audience: str | None, url: str | None, *, as_json: bool, **chosen: Any) -> None:
    """
    Change a service: each option replaces the previous value.

    \b
    Example:
      lyftdata resources set broker --scope read --scope write
    """
    from lyftdata.cli.api import Api, path_part

    body = _given(chosen) | ({} if audience is None else {"audience": audience})
    with Api(url) as api:
        changed = api.patch(f"/resources/{path_part(name)}", body)
    emit(
        changed,
        as_json=as_json,
        show=lambda found: echo_err(f"Resource {found['name']}: for {_workers(found)}"),
    )


@resources.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List services.

    \b
    Example:
      lyftdata resources list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/resources")["items"]
    emit(found, as_json=as_json, show=_show_table)


@resources.command()
@click.argument("name")
@json_option
@url_option
def show(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Show one service.

    \b
    Example:
      lyftdata resources show broker
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/resources/{path_part(name)}")
    emit(found, as_json=as_json, show=_show_one)


@resources.command("issue-key")
@click.argument("name")
@yes_option
@output_option
@json_option
@url_option
def issue_key(name: str, output: Path | None, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Issue the key with which the service introspects tokens.

    It asks first if the service already has a key: that one stops working at once. The key is printed on standard output,
    once, and everything else on standard error.

    \b
    Example:
      lyftdata resources issue-key broker --output broker.key
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/resources/{path_part(name)}"
    with Api(url) as api, key_output(output) as key_out:
        if not yes and api.get(path)["has_key"]:
            confirm(f"Replace the key of {name}? The service's present key stops working at once.", yes=yes)
        made = api.post(f"{path}/key")
        if as_json:
            print_json({**made, "key": key_out.for_json(made["key"])})
            return
        echo_err(f"The key of {clean_text(made['name'])} (client_id {clean_text(made['name'])}):")
        key_out.show_or_save(made["key"])


@resources.command()
@click.argument("name")
@yes_option
@json_option
@url_option
def delete(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Delete a service: no more tokens are issued for it.

    \b
    Example:
      lyftdata resources delete broker
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/resources/{path_part(name)}"
    with Api(url) as api:
        confirm_existing(
            api, path, f"Delete the resource {name}? Workers get no more tokens for it.", yes=yes
        )
        api.delete(path)
    emit(
        {"name": name, "deleted": True}, as_json=as_json, show=lambda _: echo_err(f"Resource deleted: {name}")
    )


def _given(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; those that were not are an empty tuple or None."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in chosen.items()
        if value not in ((), None)
    }


def _workers(found: dict[str, Any]) -> str:
    count = found["workers"]
    return f"{count or 'no'} {'Worker' if count == 1 else 'Workers'} at present"


def _show_table(found: list[dict[str, Any]]) -> None:
    rows = [(r["name"], r["audience"], " ".join(r["scopes"]) or "-", str(r["workers"])) for r in found]
    print_table(("name", "audience", "scopes", "workers"), rows, empty="There is no resource yet.")


def _show_one(found: dict[str, Any]) -> None:
    chosen = [
        *found["worker_ids"],
        *(f"name {n}" for n in found["worker_names"]),
        *(f"label {s}" for s in found["labels"]),
    ]
    print_fields(
        [
            ("Name", found["name"]),
            ("Audience", found["audience"]),
            ("Scopes", " ".join(found["scopes"]) or "-"),
            ("For", "every Worker" if found["for_all_workers"] else ", ".join(chosen) or "no Worker"),
            ("Enrolled too", "yes" if found["include_enrolled"] else "by ID only"),
            ("Workers now", str(found["workers"])),
            ("Key", "yes" if found["has_key"] else "no"),
            ("Created", f"{when(found['created_at'])} by {found['created_by']}"),
        ]
    )
