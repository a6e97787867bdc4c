"""Signs operators in and out, and changes their own password."""

import os
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lyftdata.cli.given_token import find_given_token
from lyftdata.cli.output import echo, echo_err, url_option
from lyftdata.cli.typed_password import CODE_PROMPT, read_code, read_password
from lyftdata.core.secret import Secret

if TYPE_CHECKING:
    from lyftdata.cli.api import Api


@click.command()
@click.argument("user", default="admin")
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input; a second line is the code of the second factor.",
)
@click.option("--device", is_flag=True, help="Show a code, and confirm it in a browser on any machine.")
@url_option
def login(user: str, url: str | None, *, password_stdin: bool, device: bool) -> None:
    """
    Sign in to a Server, as USER (admin unless given), for twelve hours.

    With --device you are signed in as the operator who confirms the code in a browser, by any method that works there, such as a
    passkey, which only browsers support, or an OpenID Connect issuer.

    \b
    Example:
      lyftdata login admin
      lyftdata login admin --password-stdin < password.txt
      lyftdata login --device
    """
    from lyftdata.cli.api import Api

    if device:
        _login_by_device_code(url, has_password=password_stdin)
        return
    password = read_password("Password", from_stdin=password_stdin)
    with Api(url, session_only=True) as api:
        body = {"username": user, "password": password.reveal(), **_stored_device_mark(api, user)}
        answer = _sign_in(api, body, from_stdin=password_stdin)
        api.credentials.store(api.url, Secret(answer["token"]))
        api.credentials.store_device(api.url, answer["operator"]["name"], Secret(answer["device"]))
    _report(answer)


def _login_by_device_code(url: str | None, *, has_password: bool) -> None:
    from lyftdata.cli.api import Api
    from lyftdata.cli.device_login import sign_in_by_device_code

    if (
        has_password
        or click.get_current_context().get_parameter_source("user") is not ParameterSource.DEFAULT
    ):
        raise click.UsageError(
            "--device cannot be combined with USER or --password-stdin: you sign in in the browser."
        )
    with Api(url, session_only=True) as api:
        answer = sign_in_by_device_code(api)
        api.credentials.store(api.url, Secret(answer["token"]))
    _report(answer)


def _report(answer: dict[str, Any]) -> None:
    echo("Login successful")
    if find_given_token(os.environ) is not None:
        echo_err("LYFTDATA_API_TOKEN is set: other commands use that token and not this session.")
    if answer["operator"]["must_change_password"]:
        echo_err("This is a first password. Change it with: lyftdata password")


def _sign_in(api: "Api", body: dict[str, str], *, from_stdin: bool) -> Any:
    """Sign in, and ask for the code of the second factor if one is required."""
    from lyftdata.cli.api import ApiError

    try:
        return api.post("/login", body, signed_in=False)
    except ApiError as error:
        if error.problem_code != "second_factor_required":
            raise
    code = read_code(CODE_PROMPT, from_stdin=from_stdin)
    return api.post("/login", {**body, "code": code.reveal()}, signed_in=False)


@click.command()
@click.option("--everywhere", is_flag=True, help="End all your sessions, on all machines.")
@url_option
def logout(url: str | None, *, everywhere: bool) -> None:
    """
    Sign out.

    \b
    Example:
      lyftdata logout --everywhere
    """
    from lyftdata.cli.api import Api, ApiError

    with Api(url, session_only=True) as api:
        try:
            api.post("/logout-everywhere" if everywhere else "/logout")
        except ApiError as error:
            # If the Server has already ended the session, that is as good as signing out.
            if error.problem_code not in {"not_signed_in", ""} or not api.credentials.find(api.url):
                raise
        api.credentials.forget(api.url)
    echo("Signed out")


@click.command()
@click.option("--password-stdin", is_flag=True, help="Read two lines: the current password, and the new one.")
@url_option
def password(url: str | None, *, password_stdin: bool) -> None:
    """
    Change your password; your other sessions end.

    \b
    Example:
      lyftdata password
    """
    from lyftdata.cli.api import Api

    with Api(url, session_only=True) as api:
        current, new = _read_change(api, from_stdin=password_stdin)
        user = api.get("/whoami")["name"]
        body = {
            "current_password": current.reveal(),
            "new_password": new.reveal(),
            **_stored_device_mark(api, user),
        }
        # The new password invalidates the marks of all devices; this one gets a new mark.
        mark = api.post_for_header("/me/password", body, header="Lyftdata-Device")
        api.credentials.store_device(api.url, user, Secret(mark))
    echo("Password changed")


def _read_change(api: "Api", *, from_stdin: bool) -> tuple[Secret, Secret]:
    """Ask for the current and the new password; on a terminal each is checked before the next question."""
    if from_stdin:
        return read_password("", from_stdin=True), read_password("", from_stdin=True)
    current = read_password("Current password", from_stdin=False)
    api.post("/me/password/check", {"current_password": current.reveal()})
    while True:
        new = _read_accepted(api, current)
        if read_password("Repeat for confirmation", from_stdin=False).reveal() == new.reveal():
            return current, new
        echo_err("Error: The two entered values do not match.")


def _read_accepted(api: "Api", current: Secret) -> Secret:
    """Ask for a new password until the Server would accept it."""
    from lyftdata.cli.api import ApiError

    while True:
        new = read_password("New password (12 characters or more)", from_stdin=False)
        body = {"current_password": current.reveal(), "new_password": new.reveal()}
        try:
            api.post("/me/password/check", body)
        except ApiError as error:
            if error.problem_code != "invalid_input":
                raise
            echo_err(f"Error: {error.message}")
        else:
            return new


def _stored_device_mark(api: "Api", user: str) -> dict[str, str]:
    """Return the stored device mark as a field of the sign-in, so that others' failed sign-ins do not delay this one."""
    mark = api.credentials.find_device(api.url, user)
    return {} if mark is None else {"device": mark.reveal()}
