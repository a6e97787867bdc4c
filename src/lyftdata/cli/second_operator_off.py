"""`lyftdata admin second-operator-off`: for use if no second operator is left, or there is no time to reach one."""

import click

from lyftdata.cli.confirm import confirm, yes_option
from lyftdata.cli.output import echo_err
from lyftdata.cli.state_location import find_state, staging_option


@click.command("second-operator-off")
@staging_option
@yes_option
def second_operator_off(staging_dir: str | None, *, yes: bool) -> None:
    """
    Stop requiring a second operator, with the Server running or not; it takes effect at once.

    For the case that the other admins are gone, or that an attack must be stopped before one of them can be reached. The audit log
    records it, with the names of the host and its user.

    \b
    Example:
      lyftdata admin second-operator-off
    """
    place = find_state(staging_dir)
    from lyftdata.server.runtime.second_operator_recovery import turn_off_second_operator

    confirm("Let one operator do everything alone again, from now on?", yes=yes)
    turn_off_second_operator(place)
    echo_err("No second operator is required any more. To turn it on again: lyftdata requests require")
