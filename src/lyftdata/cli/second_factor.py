"""`lyftdata second-factor`: sets up and removes one's own second factor."""

from typing import Any

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo, echo_err, emit, json_option, url_option, when
from lyftdata.cli.typed_password import read_code


@click.group("second-factor")
def second_factor() -> None:
    """
    Manage your second factor: an authenticator app, and recovery codes.

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
    "--code-stdin", is_flag=True, help="Read the code from standard input, after the secret was printed."
)
@url_option
def setup(url: str | None, *, code_stdin: bool) -> None:
    """
    Set up an authenticator app, or replace the one that there is; recovery codes are printed on standard output, once.

    \b
    Example:
      lyftdata second-factor setup
    """
    from lyftdata.cli.api import Api

    with Api(url, session_only=True) as api:
        begun = api.post("/me/second-factor/totp")
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
    Make new recovery codes, printed on standard output, once; those from before are worth nothing.

    \b
    Example:
      lyftdata second-factor recovery-codes
    """
    from lyftdata.cli.api import Api

    confirm("Make new recovery codes? Those from before stop working.", yes=yes)
    with Api(url, session_only=True) as api:
        _print_codes(api.post("/me/second-factor/recovery-codes"))


@second_factor.command()
@yes_option
@url_option
def remove(url: str | None, *, yes: bool) -> None:
    """
    Remove your second factor and your recovery codes; your other sessions end.

    \b
    Example:
      lyftdata second-factor remove
    """
    from lyftdata.cli.api import Api

    confirm("Remove your second factor? Your password alone signs you in then.", yes=yes)
    with Api(url, session_only=True) as api:
        api.delete("/me/second-factor")
    echo_err("Second factor removed")


def _print_codes(answer: dict[str, Any]) -> None:
    echo_err("Recovery codes, shown once. Each signs you in once in place of the app:")
    for code in answer["recovery_codes"]:
        echo(code)


def _show(found: dict[str, Any]) -> None:
    if not found["factors"]:
        echo("You have no second factor. Set one up with: lyftdata second-factor setup")
        return
    for factor in found["factors"]:
        echo(f"{factor['kind']} since {when(factor['created_at'])}, last used {when(factor['used_at'])}")
    echo(f"{found['recovery_codes']} recovery codes left")
