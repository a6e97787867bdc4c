"""`lyftdata doctor`: what is wrong with a set-up, why it matters, and the command that fixes it."""

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lyftdata.cli.output import echo, json_option, print_json, say
from lyftdata.core.text import clean_line, count

if TYPE_CHECKING:
    from lyftdata.doctor.findings import Finding

EXIT_FAILED = 1


@click.group()
def doctor() -> None:
    """
    Find out why a Worker does not connect.

    \b
    Example:
      lyftdata doctor worker
    """


@doctor.command()
@json_option
def worker(*, as_json: bool) -> int:
    """
    Examine this host as the Worker's next start would, with the same environment and as the same user.

    Looks at settings, files of secrets, the Worker's directory, the Server's name, addresses and certificate, its clock, what
    answers, and whether it lets this Worker in. It asks for a token, but never enrolls, and does not disturb a Worker
    that is running. Exit 0 if the Worker can connect (there may be warnings), 1 if not. Each finding is explained in
    docs/reference/doctor.md.

    \b
    Example:
      lyftdata doctor worker
      lyftdata doctor worker --json
    """
    from lyftdata.doctor.findings import Severity
    from lyftdata.doctor.worker import examine_worker

    found = asyncio.run(examine_worker(os.environ))
    problems = [finding for finding in found if finding.check.severity is Severity.PROBLEM]
    if as_json:
        print_json({"ok": not problems, "findings": [finding.as_dict() for finding in found]})
    else:
        _print(found, problems=len(problems))
    return EXIT_FAILED if problems else 0


def _print(found: "Sequence[Finding]", *, problems: int) -> None:
    for finding in found:
        echo(f"{finding.check.severity.value}: {finding.check.code}")
        echo(f"  what  {clean_line(finding.what)}")
        echo(f"  why   {finding.check.why}")
        echo(f"  fix   {clean_line(finding.fix)}")
    warnings = len(found) - problems
    if not found:
        say("Nothing is wrong.")
    else:
        say(f"{count(problems, 'problem')}, {count(warnings, 'warning')}.")
