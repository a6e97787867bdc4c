"""`lyftdata doctor`: diagnoses a set-up: what is wrong, why it matters, and the command that fixes it."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lyftdata.cli.output import echo, echo_err, json_option, print_json, url_option
from lyftdata.cli.run import require_server
from lyftdata.core.text import clean_line, count

if TYPE_CHECKING:
    from lyftdata.doctor.findings import Finding

EXIT_FAILED, EXIT_USAGE = 1, 2


@click.group(invoke_without_command=True)
@click.option(
    "--as",
    "named",
    metavar="WORKER",
    help="Show what the Server knows about this Worker (an ID or a name) next to its last attempt; needs `lyftdata login`.",
)
@json_option
@url_option
@click.pass_context
def doctor(ctx: click.Context, named: str | None, url: str | None, *, as_json: bool) -> int | None:
    """
    Find out what is wrong, why it matters, and what to do.

    There is one command for a Worker's host and one for the Server's host. With --as it asks the Server why a Worker is not
    admitted: exit 0 if nothing prevents that, 1 if something does.

    \b
    Example:
      lyftdata doctor worker
      lyftdata doctor server
      lyftdata doctor --as press-01
    """
    if ctx.invoked_subcommand is not None:
        if named is not None or as_json or url is not None:
            raise click.UsageError(f"Options of --as cannot be combined with `{ctx.invoked_subcommand}`.")
        return None
    if named is None:
        echo(ctx.get_help())
        return EXIT_USAGE
    return _examine_as(named, url, as_json=as_json)


def _examine_as(named: str, url: str | None, *, as_json: bool) -> int:
    from lyftdata.cli.api import Api
    from lyftdata.cli.doctor_as import ask_for_view, show_view
    from lyftdata.doctor.server_view import examine_view

    with Api(url) as api:
        view = ask_for_view(api, named)
    found = list(examine_view(view))
    if as_json:
        return _report(found, as_json=True, worker=view.worker, last_attempt=view.last_attempt())
    show_view(view)
    return _report(found, as_json=False)


@doctor.command()
@click.option(
    "--quick",
    is_flag=True,
    help="Skip the check that holds a request for as long as a poll: 25 s or more.",
)
@json_option
def worker(*, quick: bool, as_json: bool) -> int:
    """
    Examine this host as the Worker's next start would, with the same environment and as the same user.

    Checks settings, secret files, the Worker's directory, the Server's name, addresses and certificate, the clock, what answers,
    whether the Server accepts this Worker, and whether something in between cuts or buffers held requests. It requests a token, but
    never enrolls, and does not disturb a Worker that is running. Exit 0 if the Worker can connect (there may be warnings), 1 if not.
    Each finding is explained in docs/reference/doctor.md.

    \b
    Example:
      lyftdata doctor worker
      lyftdata doctor worker --quick --json
    """
    from lyftdata.doctor.worker import examine_worker

    def announce(hold_s: float) -> None:
        echo_err(f"The Server holds a request for {hold_s:g} s, like the Worker's polls…")

    found = asyncio.run(examine_worker(os.environ, announce=None if quick else announce))
    return _report(found, as_json=as_json)


@doctor.command()
@click.option(
    "--tls-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Certificates (PEM) to trust instead of the system's, as Workers are given them.  [default: those of LYFTDATA_WORKER_TLS_CA]",
)
@json_option
def server(*, tls_ca: Path | None, as_json: bool) -> int:
    """
    Examine this host as the Server's next start would, with the same environment and as the same user, while the Server runs.

    Checks settings, files, disk and database, and asks at the Server's public address whether Workers that connect there reach
    this Server. Changes nothing. Exit 0 if Workers can connect (there may be warnings), 1 if not.

    \b
    Example:
      lyftdata doctor server
      lyftdata doctor server --tls-ca ca.pem --json
    """
    require_server()
    from lyftdata.bounded_http import checked_ca
    from lyftdata.core.errors import InvalidInputError
    from lyftdata.doctor.server import examine_server

    try:
        checked_ca(tls_ca)
    except InvalidInputError as error:
        raise click.BadParameter(error.message, param_hint="--tls-ca") from error
    return _report(asyncio.run(examine_server(os.environ, tls_ca=tls_ca)), as_json=as_json)


def _report(found: "Sequence[Finding]", *, as_json: bool, **more: Any) -> int:
    """Print the findings, in JSON with further members; return the exit code."""
    from lyftdata.doctor.findings import Severity

    problems = [finding for finding in found if finding.check.severity is Severity.PROBLEM]
    if as_json:
        print_json({"ok": not problems, **more, "findings": [finding.as_dict() for finding in found]})
    else:
        _print(found, problems=len(problems))
    return EXIT_FAILED if problems else 0


def _print(found: "Sequence[Finding]", *, problems: int) -> None:
    for finding in found:
        echo(f"{finding.check.severity.value}: {finding.check.code}")
        echo(f"  what  {clean_line(finding.what)}")
        echo(f"  why   {finding.check.why}")
        echo(f"  fix   {clean_line(finding.fix)}")
    warnings = sum(finding.check.severity.value == "warning" for finding in found)
    if not problems + warnings:
        echo_err("Nothing is wrong.")
    else:
        echo_err(f"{count(problems, 'problem')}, {count(warnings, 'warning')}.")
