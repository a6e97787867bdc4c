"""`lyftdata second-factor`: sets up and removes the operator's own second factors."""

import sys
from typing import Any

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo, echo_err, emit, json_option, url_option, when
from lyftdata.cli.typed_password import read_code


@click.group("second-factor")
def second_factor() -> None:
    """
    Manage your second factor: an authenticator app, passkeys, and recovery codes.

    A passkey works only on the Server's pages: add it there, on your account's page, and sign in with it there. To sign in here with a
    passkey, use a device code: lyftdata login --device

    \b
    Example:
      lyftdata second-factor setup
    """


@second_factor.command()
@json_option
@url_option
def status(url: str | None, *, as_json: bool) -> None:
    """
    Show your second factor, and how many recovery codes you have left.

    \b
    Example:
      lyftdata second-factor status
    """
    from lyftdata.cli.api import Api

    with Api(url, session_only=True) as api:
        found = api.get("/me/second-factor")
    emit(found, as_json=as_json, show=_show)


@second_factor.command()
@click.option(
    "--code-stdin", is_flag=True, help="Read the code from standard input, after the secret is printed."
)
@url_option
def setup(url: str | None, *, code_stdin: bool) -> None:
    """
    Set up an authenticator app, or replace the present one; recovery codes are printed on standard output, once.

    \b
    Example:
      lyftdata second-factor setup
    """
    from lyftdata.cli.api import Api

    with Api(url, session_only=True) as api:
        begun = api.post("/me/second-factor/totp")
        _show_qr_code(begun.get("qr_text", ""))
        echo_err(
            f"Type this secret into the app, or give it the address:\n  {begun['secret']}\n  {begun['uri']}"
        )
        code = read_code("Code that the app shows now", from_stdin=code_stdin)
        body = {"setup": begun["setup"], "code": code.reveal()}
        _print_codes(api.post("/me/second-factor/totp/confirm", body))
    echo_err("The second factor is set up. Your other sessions were ended.")


@second_factor.command("recovery-codes")
@yes_option
@url_option
def recovery_codes(url: str | None, *, yes: bool) -> None:
    """
    Generate new recovery codes, printed on standard output, once; the old ones stop working.

    \b
    Example:
      lyftdata second-factor recovery-codes
    """
    from lyftdata.cli.api import Api

    confirm("Generate new recovery codes? The old ones stop working.", yes=yes)
    with Api(url, session_only=True) as api:
        _print_codes(api.post("/me/second-factor/recovery-codes"))


@second_factor.command()
@yes_option
@url_option
def remove(url: str | None, *, yes: bool) -> None:
    """
    Remove your app, your passkeys and your recovery codes; your other sessions end.

    \b
    Example:
      lyftdata second-factor remove
    """
    from lyftdata.cli.api import Api

    confirm("Remove your app and your passkeys? Then your password alone signs you in.", yes=yes)
    with Api(url, session_only=True) as api:
        api.delete("/me/second-factor")
    echo_err("Second factor removed")


@second_factor.command("remove-app")
@yes_option
@url_option
def remove_app(url: str | None, *, yes: bool) -> None:
    """
    Remove your authenticator app; your passkeys stay, and your other sessions end.

    \b
    Example:
      lyftdata second-factor remove-app
    """
    from lyftdata.cli.api import Api

    confirm("Remove your authenticator app?", yes=yes)
    with Api(url, session_only=True) as api:
        api.delete("/me/second-factor/totp")
    echo_err("Authenticator app removed")


@second_factor.command("remove-passkey")
@click.argument("name")
@yes_option
@url_option
def remove_passkey(name: str, url: str | None, *, yes: bool) -> None:
    """
    Remove one of your passkeys, by its name or ID; your other sessions end.

    \b
    Example:
      lyftdata second-factor remove-passkey "key at my desk"
    """
    from lyftdata.cli.api import Api, path_part

    with Api(url, session_only=True) as api:
        found = find_passkey(api.get("/me/second-factor")["passkeys"], name)
        confirm(f"Remove your passkey '{found['name']}'?", yes=yes)
        api.delete(f"/me/passkeys/{path_part(found['id'])}")
    echo_err(f"Passkey '{found['name']}' removed")


def find_passkey(found: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """Return the passkey with this name or ID; raises click.UsageError if there is none."""
    for passkey in found:
        if wanted in {passkey["name"], passkey["id"]}:
            return passkey
    names = ", ".join(repr(passkey["name"]) for passkey in found) or "none"
    raise click.UsageError(f"There is no passkey '{wanted}'. There are: {names}.")


def _show_qr_code(text: str) -> None:
    """Show the QR code on a terminal that can display its characters; a log or a pipe gets none."""
    if not sys.stderr.isatty():
        return
    try:
        text.encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        return
    echo_err(text)


def _print_codes(answer: dict[str, Any]) -> None:
    echo_err("Recovery codes, shown once. Each signs you in once, instead of the app:")
    for code in answer["recovery_codes"]:
        echo(code)


def _show(found: dict[str, Any]) -> None:
    # A Server of another version may not support passkeys.
    passkeys = found.get("passkeys", [])
    if not found["factors"] and not passkeys:
        echo(
            "You have no second factor. Set one up with: lyftdata second-factor setup, or a passkey on your account's page."
        )
        return
    for factor in found["factors"]:
        echo(f"{factor['kind']} since {when(factor['created_at'])}, last used {when(factor['used_at'])}")
    for passkey in passkeys:
        echo(
            f"passkey '{passkey['name']}' since {when(passkey['created_at'])}, last used {when(passkey['used_at'])}"
        )
    echo(f"{found['recovery_codes']} recovery codes left")
