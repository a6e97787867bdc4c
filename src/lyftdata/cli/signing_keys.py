"""`lyftdata keys`: manages the keys that sign worker tokens."""

from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.confirm import confirm, require_terminal, yes_option
from lyftdata.cli.output import emit, json_option, print_table, url_option, when

if TYPE_CHECKING:
    from lyftdata.cli.api import Api


@click.group()
def keys() -> None:
    """
    List, rotate and withdraw the keys with which the Server signs worker tokens.

    \b
    Example:
      lyftdata keys list
    """


@keys.command("list")
@json_option
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """
    List the published signing keys.

    \b
    Example:
      lyftdata keys list
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/signing-keys")["items"]
    emit(found, as_json=as_json, show=_show_table)


@keys.command()
@click.option("--now", is_flag=True, help="Let the new key sign at once instead of in a day.")
@click.option(
    "--withdraw",
    multiple=True,
    metavar="KID",
    help="Also refuse every token signed with this key, from now on; may be given several times.",
)
@yes_option
@json_option
@url_option
def rotate(withdraw: tuple[str, ...], url: str | None, *, now: bool, yes: bool, as_json: bool) -> None:
    """
    Rotate the signing keys early; they rotate automatically every 30 days.

    Without options the next key is published, and signs in a day. Withdraw a key that has leaked: Workers get new tokens
    automatically.

    \b
    Example:
      lyftdata keys rotate
      lyftdata keys rotate --now --withdraw 3nXf0Yv8s1QkqkQJr1cQb6l0Vd2m8uXo5T4hJ7wPzKE
    """
    from lyftdata.cli.api import Api

    if withdraw and not now:
        raise click.UsageError("--withdraw needs --now: another key must sign at once.")
    with Api(url) as api:
        for kid in withdraw:
            _confirm_there(api, kid, yes=yes)
        if withdraw:
            confirm(
                f"Withdraw {_keys(len(withdraw))}? Every token signed with it is refused at once.", yes=yes
            )
        found = api.post("/signing-keys/rotate", {"now": now, "withdraw": list(withdraw)})["items"]
    emit(found, as_json=as_json, show=_show_table)


def _confirm_there(api: "Api", kid: str, *, yes: bool) -> None:
    """Report a key that is not published before asking; with `--yes` the next request shows that."""
    if not yes:
        require_terminal("Withdraw a signing key?")
        if all(key["kid"] != kid for key in api.get("/signing-keys")["items"]):
            raise click.ClickException(f"There is no '{kid}' in signing-keys.")


def _keys(count: int) -> str:
    return "1 signing key" if count == 1 else f"{count} signing keys"


def _show_table(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            key["kid"],
            key["algorithm"],
            key["state"],
            when(key["created_at"]),
            when(key["signs_from"]),
            when(key["retires_at"]),
        )
        for key in found
    ]
    print_table(("kid", "algorithm", "state", "created", "signs from", "published until"), rows, empty="")
