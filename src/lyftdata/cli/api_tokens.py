"""`lyftdata operators token`: issues, lists and revokes API tokens for automation."""

from pathlib import Path
from typing import Any

import click

from lyftdata.cli.confirm import confirm_existing, yes_option
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
from lyftdata.cli.scopes import scope_field, scope_option
from lyftdata.core.durations import parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import format_labels

_ROLES = click.Choice(["admin", "viewer"])


@click.group()
def token() -> None:
    """
    Issue, list and revoke API tokens, with which automation uses the admin API.

    \b
    Example:
      lyftdata operators token issue ci-deploy --role admin --output ci-deploy.token
    """


@token.command()
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="Its role; at most your own.")
@click.option(
    "--expires",
    metavar="DURATION",
    default="90d",
    show_default=True,
    help="Lifetime, for example 30d; at most 366d.",
)
@scope_option("Limit it to Workers with this label, and to their keys and resources")
@output_option
@json_option
@url_option
def issue(
    name: str,
    role: str,
    expires: str,
    labels: tuple[str, ...],
    output: Path | None,
    url: str | None,
    *,
    as_json: bool,
) -> None:
    """
    Issue an API token that acts for you, under its own name in the audit log.

    The token is printed on standard output, once and nowhere else; everything else goes to standard error. The command line reads
    it from LYFTDATA_API_TOKEN or LYFTDATA_API_TOKEN_FILE; any other client sends it as a bearer token. It may not manage operators,
    their sessions or API tokens.

    \b
    Example:
      lyftdata operators token issue ci-deploy --role admin --expires 90d --output ci-deploy.token
      lyftdata operators token issue etl-deploy --role admin --label team=etl --output etl-deploy.token
    """
    from lyftdata.cli.api import Api

    body = {"name": name, "role": role, "expires_in_s": _seconds(expires)} | scope_field(labels)
    with Api(url) as api, key_output(output, kind="token") as token_out:
        answer = api.post("/api-tokens", body)
        _print_token(answer, token_out, as_json=as_json)


@token.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List API tokens, without the tokens, with when and from where each was last used.

    \b
    Example:
      lyftdata operators token list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/api-tokens")["items"]
    emit(found, as_json=as_json, show=_show_table)


@token.command()
@click.argument("name")
@json_option
@url_option
def show(name: str, url: str | None, *, as_json: bool) -> None:
    """
    Show one API token, without the token itself.

    \b
    Example:
      lyftdata operators token show ci-deploy
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url) as api:
        found = api.get(f"/api-tokens/{path_part(name)}")
    emit(found, as_json=as_json, show=_show_one)


@token.command()
@click.argument("name")
@yes_option
@json_option
@url_option
def revoke(name: str, url: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Revoke an API token: every Server rejects it from the next request on.

    \b
    Example:
      lyftdata operators token revoke ci-deploy
    """
    from lyftdata.cli.api import Api, path_part

    path = f"/api-tokens/{path_part(name)}"
    with Api(url) as api:
        confirm_existing(api, path, f"Revoke API token {name}? What uses it is rejected at once.", yes=yes)
        revoked = api.post(f"{path}/revoke")
    emit(revoked, as_json=as_json, show=lambda one: echo_err(f"API token {one['name']} revoked"))


def _print_token(answer: dict[str, Any], token_out: KeyOutput, *, as_json: bool) -> None:
    found = answer["api_token"]
    if as_json:
        print_json({**found, "token": token_out.for_json(answer["token"])})
        return
    limit = f"limited to {_scope(found)}, " if found.get("scope") else ""
    echo_err(f"API token {found['name']} issued: role {found['role']}, {limit}until {found['expires_at']}.")
    token_out.show_or_save(answer["token"])


def _seconds(text: str) -> int:
    try:
        return int(parse_duration(text).total_seconds())
    except InvalidInputError as error:
        raise click.UsageError(f"--expires {error.message}") from error


def _role(found: dict[str, Any]) -> str:
    """Return a token's role now, and the role it was issued with if that differs."""
    if found["effective_role"] in {None, found["role"]}:
        return str(found["role"])
    return f"{found['effective_role']} (issued as {found['role']})"


def _scope(found: dict[str, Any]) -> str:
    # A Server of another version may not support scopes.
    return format_labels(found.get("scope") or {}) or "-"


def _show_table(found: list[dict[str, Any]]) -> None:
    columns = ("name", "role", "limited to", "status", "acts for", "expires", "last used", "from")
    rows = [
        (
            one["name"],
            _role(one),
            _scope(one),
            one["status"],
            one["operator"],
            when(one["expires_at"]),
            when(one["last_used_at"]),
            one["last_used_from"] or "-",
        )
        for one in found
    ]
    print_table(columns, rows, empty="There are no API tokens.")


def _show_one(found: dict[str, Any]) -> None:
    print_fields(
        [
            ("name", found["name"]),
            ("token", f"lyftdata_token_{found['public_id']}_…"),
            ("role", _role(found)),
            ("limited to", _scope(found)),
            ("status", found["status"]),
            ("acts for", found["operator"]),
            ("created", when(found["created_at"])),
            ("expires", when(found["expires_at"])),
            ("revoked", when(found["revoked_at"])),
            ("last used", when(found["last_used_at"])),
            ("from", found["last_used_from"] or "-"),
        ]
    )
