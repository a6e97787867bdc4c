"""`lyftdata admin emergency-access`: a temporary password, valid even if the Server accepts no passwords."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo_err, json_option
from lyftdata.cli.state_location import find_state, staging_option
from lyftdata.core.durations import format_duration, parse_duration
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret

if TYPE_CHECKING:
    from lyftdata.core.records import OperatorRecord

_SHORTEST, _LONGEST = timedelta(minutes=5), timedelta(hours=24)


@click.command("emergency-access")
@click.argument("name")
@click.option("--for", "life", default="1h", show_default=True, help="For how long, 5m to 24h.")
@staging_option
@yes_option
@json_option
def emergency_access(name: str, life: str, staging_dir: str | None, *, yes: bool, as_json: bool) -> None:
    """
    Give operator NAME a temporary password, printed once, with the Server running or not; it takes effect at once.

    For the time when the identity provider is down or gives no one a role: the password is accepted even if
    LYFTDATA_PASSWORD_SIGN_IN is `no`. If there is no operator NAME, one is added as an admin. NAME's sessions end, and the previous
    password is replaced. The audit log records it, with the names of the host and its user.

    \b
    Example:
      lyftdata admin emergency-access admin --for 1h
    """
    place = find_state(staging_dir)
    from lyftdata.server.runtime.operator_recovery import open_emergency_access

    lasts = _parse_life(life)
    confirm(
        f"Let {name} sign in with a new password for {format_duration(lasts)}? Their sessions end at once.",
        yes=yes,
    )
    open_emergency_access(place, name, lasts, announce=_print_json if as_json else _print_password)
    if not as_json:
        echo_err(
            f"It is valid for {format_duration(lasts)}. Sign in on the Server's sign-in page, or: lyftdata login {name}"
        )


def _parse_life(text: str) -> timedelta:
    try:
        life = parse_duration(text)
    except InvalidInputError as error:
        raise click.UsageError(f"--for {error.message}") from error
    if not _SHORTEST <= life <= _LONGEST:
        raise click.UsageError("--for must be from 5m to 24h")
    return life


def _print_password(record: "OperatorRecord", password: Secret) -> None:
    from lyftdata.server.admin.first_password import print_once

    echo_err(f"The password of {record.name} is shown once:")
    print_once(f"{password.reveal()}\n")


def _print_json(record: "OperatorRecord", password: Secret) -> None:
    from lyftdata.server.admin.first_password import print_once

    until = None if record.password_expires_at is None else record.password_expires_at.isoformat()
    shown = {
        "name": record.name,
        "role": record.role.value,
        "password": password.reveal(),
        "expires_at": until,
    }
    print_once(json.dumps(shown, indent=2) + "\n")
