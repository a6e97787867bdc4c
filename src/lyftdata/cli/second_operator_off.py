"""`lyftdata admin second-operator-off`: for when no second operator is left, or there is no time for one."""

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo_err
from lyftdata.cli.state_location import find_state, staging_option


@click.command("second-operator-off")
@staging_option
@yes_option
def second_operator_off(staging_dir: str | None, *, yes: bool) -> None:
    """
    Turn off that a second operator must confirm actions, while the Server runs or not; it counts at once.

    For the day on which the other admins are gone, or an attack must be stopped before one of them is reached. It is in the audit log,
    with the host's name and its user.

    \b
    Example:
      lyftdata admin second-operator-off
    """
    place = find_state(staging_dir)
    from lyftdata.server.runtime.second_operator_recovery import turn_off_second_operator

    confirm("Let one operator alone do everything again, from now on?", yes=yes)
    turn_off_second_operator(place)
    echo_err("No second operator must confirm anything. Turn it on again: lyftdata requests require")
