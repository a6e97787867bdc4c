"""`lyftdata api-key`: manages API keys."""

from pathlib import Path
from typing import Any

import click

from lyftdata.cli.confirm import confirm, confirm_existing, yes_option
from lyftdata.cli.key_rotation import ends_in, parse_previous_end, previous_end_options
from lyftdata.cli.output import (
    KeyOutput,
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
from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError


@click.group("api-key")
def api_key() -> None:
    """
    Issue, list, rotate and revoke API keys.

    \b
    Example:
      lyftdata api-key issue press-keys
      lyftdata api-key issue press-01-key --worker press-01 --expires 90d
    """


@api_key.command()
@click.argument("name")
@click.option(
    "--worker",
    "worker_ids",
    multiple=True,
    metavar="ID",
    help="Only for this Worker; may be given several times.",
)
@click.option(
    "--expires",
    metavar="DURATION",
    help="Lifetime, for example 90d; without it the key does not expire.",
)
@output_option
@json_option
@url_option
def issue(
    name: str,
    worker_ids: tuple[str, ...],
    expires: str | None,
    output: Path | None,
    url: str | None,
    *,
    as_json: bool,
) -> None:
    """
    Issue an API key: for every Worker of strategy api_key, or only for those named.

    The key is printed on standard output, once and nowhere else; everything else goes to standard error.

    \b
    Example:
      lyftdata api-key issue press-01-key --worker press-01 --output press-01.key
    """
    from lyftdata.cli.api import Api

    body = {
        "name": name,
        "worker_ids": list(worker_ids) or None,
        "expires_in_s": _seconds(expires, "--expires"),
    }
    with Api(url) as api, key_output(output) as key_out:
        answer = api.post("/api-keys", body)
        _print_key(answer, key_out, as_json=as_json, done="issued")


@api_key.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List API keys, without the keys themselves: only digests are stored.

    \b
    Example:
      lyftdata api-key list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/api-keys")["items"]
    emit(found, as_json=as_json, show=_show_table)


@api_key.command()
@click.argument("name")
@json_option
@url_option
def show(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Show one API key, without the key itself.

    \b
    Example:
      lyftdata api-key show press-keys
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/api-keys/{path_part(name)}")
    emit(found, as_json=as_json, show=_show_one)


@api_key.command()
@click.argument("name")
@yes_option
@json_option
@url_option
def revoke(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Revoke an API key: every Worker that uses it is cut off, within a second at every Server.

    \b
    Example:
      lyftdata api-key revoke press-keys
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        users = len(api.get(f"/api-keys/{path_part(name)}")["used_by"])
        confirm(f"Revoke API key {name}? {_workers(users)} connected with it now will be cut off.", yes=yes)
        revoked = api.post(f"/api-keys/{path_part(name)}/revoke")
    emit(
        revoked,
        as_json=as_json,
        show=lambda key: echo_err(f"API key {key['name']} revoked; {_workers(users)} cut off"),
    )


@api_key.command()
@click.argument("name")
@click.option(
    "--worker", "workers", multiple=True, required=True, help="A Worker's ID; may be given several times."
)
@json_option
@url_option
def allow(name: str, workers: tuple[str, ...], url: str | None, *, as_json: bool) -> None:
    """
    Allow more Workers to use an API key that is limited to certain Workers.

    \b
    Example:
      lyftdata api-key allow press-keys --worker press-02
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        allowed = api.post(f"/api-keys/{path_part(name)}/allow", {"worker_ids": list(workers)})
    emit(allowed, as_json=as_json, show=lambda key: echo_err(f"API key {key['name']} is for: {_scope(key)}"))


@api_key.command()
@click.argument("name")
@previous_end_options
@yes_option
@output_option
@json_option
@url_option
def rotate(
    name: str,
    grace: str | None,
    until: str | None,
    output: Path | None,
    url: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """
    Replace an API key by its next generation, which is printed on standard output, once.

    The old key stops working at once, or at the time given by --grace or --until. `lyftdata api-key show` lists the Workers that
    still use it.

    \b
    Example:
      lyftdata api-key rotate press-keys --grace 24h --output press.key
      lyftdata api-key rotate press-keys --until 2027-01-31T06:00Z --output press.key
    """
    from lyftdata.cli.api import Api, path_part

    end = parse_previous_end(grace, until)
    path = f"/api-keys/{path_part(name)}"
    with Api(url) as api, key_output(output) as key_out:
        question = f"Rotate API key {name}? The old key stops working {end.words}."
        confirm_existing(api, path, question, yes=yes)
        answer = api.post(f"{path}/rotate", end.body)
        _print_key(answer, key_out, as_json=as_json, done="rotated")


@api_key.command("end-previous")
@click.argument("name")
@yes_option
@json_option
@url_option
def end_previous(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    End a rotation now: the older generations of an API key stop working, and Workers that still use one are cut off.

    \b
    Example:
      lyftdata api-key end-previous press-keys
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/api-keys/{path_part(name)}"
    with Api(url) as api:
        lagging = {worker["id"] for old in api.get(path)["previous"] for worker in old["workers"]}
        question = f"End the older generations of API key {name}? {_workers(len(lagging))} will be refused."
        confirm(question, yes=yes)
        key = api.post(f"{path}/end-previous")
    emit(
        key,
        as_json=as_json,
        show=lambda k: echo_err(f"API key {k['name']}: only generation {k['generation']} works"),
    )


def _print_key(answer: dict[str, Any], key_out: KeyOutput, *, as_json: bool, done: str) -> None:
    if as_json:
        print_json({**answer["api_key"], "key": key_out.for_json(answer["key"])})
        return
    key = answer["api_key"]
    scope = "every Worker of strategy api_key" if key["for_all_workers"] else ", ".join(key["worker_ids"])
    end = f", until {key['expires_at']}" if key["expires_at"] else ""
    echo_err(f"API key {key['name']} {done}: for {scope}{end}.")
    key_out.show_or_save(answer["key"])


def _seconds(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        return int(parse_duration(text).total_seconds())
    except InvalidInputError as error:
        raise click.UsageError(f"{option} {error.message}") from error


def _workers(count: int) -> str:
    return "1 Worker" if count == 1 else f"{count} Workers"


def _scope(key: dict[str, Any]) -> str:
    if key["for_all_workers"]:
        return "all"
    return ",".join(key["worker_ids"]) or "no Worker"


def _show_table(found: list[dict[str, Any]]) -> None:
    columns = ("name", "public id", "status", "workers", "expires", "old key", "last used", "by")
    rows = [
        (
            key["name"],
            key["public_id"],
            key["status"],
            _scope(key),
            when(key["expires_at"]),
            ", ".join(ends_in(old) for old in key["previous"]) or "-",
            when(key["last_used_at"]),
            key["last_used_by"] or "-",
        )
        for key in found
    ]
    print_table(columns, rows, empty="There are no API keys. Issue one with: lyftdata api-key issue NAME")


def _show_one(key: dict[str, Any]) -> None:
    print_fields(
        [
            ("Name", key["name"]),
            ("Public ID", f"{key['public_id']} (generation {key['generation']})"),
            ("Status", key["status"]),
            ("Workers", _scope(key)),
            ("Connected now", ", ".join(key["used_by"]) or "-"),
            ("Expires", when(key["expires_at"])),
            ("Revoked", when(key["revoked_at"])),
            ("Last used", f"{when(key['last_used_at'])} by {key['last_used_by'] or '-'}"),
            *_previous_fields(key),
            ("Created", f"{when(key['created_at'])} by {key['created_by']}"),
            ("Rotated", f"{when(key['rotated_at'])} by {key['rotated_by']}" if key["rotated_at"] else "-"),
        ]
    )


def _previous_fields(key: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a line for each older generation that still works, and one for the Workers that still use it."""
    fields: list[tuple[str, str]] = []
    for old in key["previous"]:
        users = [
            f"{worker['id']} ({'connected' if worker['online'] else when(worker['last_used_at'])})"
            for worker in old["workers"]
        ]
        fields += [
            (f"Generation {old['generation']}", f"{old['public_id']}, {ends_in(old)}"),
            ("Still used by", ", ".join(users) or "no Worker"),
        ]
    return fields
