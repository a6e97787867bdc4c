"""
`lyftdata`: finds the command, and turns an error into one message and an exit code.

Commands are imported when they are used, so that `lyftdata --help` answers at once.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 finally refused by the Server, 4 waits for a second operator.
"""

import difflib
import importlib
import io
import sys
import threading
import traceback
from types import TracebackType
from typing import NoReturn

import click

from lyftdata import __version__
from lyftdata.cli.output import echo_err
from lyftdata.cli.standard_streams import (
    OutputError,
    discard_output,
    fill_missing_streams,
    missing_streams,
    report_output_errors,
)
from lyftdata.core.errors import LyftdataError, SecondOperatorRequiredError, SettingsError
from lyftdata.core.text import clean_lines
from lyftdata.hardening import hide_from_other_programs

_MAX_LINES, _MAX_LINE_LENGTH = 20, 1_000

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_WAITS = 4

# Name on the command line: module and attribute, and the line that `--help` shows without importing it.
_COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": (
        "lyftdata.cli.quickstart:quickstart",
        "Start a Server and one Worker of each strategy, to try it out.",
    ),
    "run": ("lyftdata.cli.run:run", "Run a Server or a Worker."),
    "login": ("lyftdata.cli.login:login", "Sign in to a Server."),
    "logout": ("lyftdata.cli.login:logout", "Sign out."),
    "password": ("lyftdata.cli.login:password", "Change your password."),
    "second-factor": ("lyftdata.cli.second_factor:second_factor", "Manage your second factor."),
    "workers": ("lyftdata.cli.workers:workers", "Add, list, disable and delete Workers."),
    "fleet": (
        "lyftdata.cli.fleet:fleet",
        "See whether the fleet is complete, and which versions its agents have.",
    ),
    "api-key": ("lyftdata.cli.api_key:api_key", "Issue, list, rotate and revoke API keys."),
    "resources": ("lyftdata.cli.resources:resources", "Define services for which Workers may get tokens."),
    "enrollment": ("lyftdata.cli.enrollment:enrollment", "Show Auto-Enrollment, make an enrollment key."),
    "keys": ("lyftdata.cli.signing_keys:keys", "List, rotate and withdraw the Server's signing keys."),
    "incident": (
        "lyftdata.cli.incident:incident",
        "Show which Workers used a leaked key, and cut them off.",
    ),
    "alerts": ("lyftdata.cli.alerts:alerts", "See what needs attention, and snooze what can wait."),
    "refusals": ("lyftdata.cli.refusals:refusals", "See which attempts were refused, and why."),
    "audit": ("lyftdata.cli.audit:audit", "List, export and verify the audit log."),
    "events": (
        "lyftdata.cli.events:events",
        "Deliver events of the audit log to webhooks, syslog and files.",
    ),
    "servers": ("lyftdata.cli.servers:servers", "See which Servers share the state."),
    "operators": (
        "lyftdata.cli.operators:operators",
        "Manage who may sign in, their sessions, and API tokens.",
    ),
    "requests": (
        "lyftdata.cli.requests:requests",
        "Confirm what another operator asks for.",
    ),
    "admin": ("lyftdata.cli.admin:admin", "Back up, restore and move a Server's state; unlock operators."),
    "token": ("lyftdata.cli.token:token", "Print a worker token for scripts on this host."),
    "doctor": ("lyftdata.cli.doctor:doctor", "Find out what is wrong with a set-up."),
    "config": ("lyftdata.cli.config:config", "Check start-up settings."),
    "completion": ("lyftdata.cli.completion:completion", "Print a shell completion script."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order in which a new user needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for one that does not exist, suggest the nearest, as click does elsewhere."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, _COMMANDS, n=1)
            ctx.fail(f"No such command '{name}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in _COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First time here? Run `lyftdata quickstart`.",
)
@click.version_option(__version__, prog_name="lyftdata")
def cli() -> None:
    """
    Worker authentication: a Server accepts only the Workers that prove who they are.

    \b
    Example:
      lyftdata run server
      lyftdata login admin
      lyftdata workers add press-01 --issue-key
    """


def main() -> NoReturn:
    """Run the command line and exit."""
    # Before anything else: until then, another program of the same user may read this process's secrets.
    hide_from_other_programs()
    arguments = sys.argv[1:]
    if _prints_nothing_that_matters(arguments):
        fill_missing_streams()
    report_output_errors()
    sys.excepthook = _print_traceback
    threading.excepthook = lambda failed: _print_traceback(
        failed.exc_type, failed.exc_value, failed.exc_traceback
    )
    sys.exit(run(arguments))


def _prints_nothing_that_matters(arguments: list[str]) -> bool:
    """Return whether a command may run without its output: the Worker agent has a log, and no key to print."""
    return arguments[:2] == ["run", "worker"]


def _print_traceback(
    kind: type[BaseException], error: BaseException | None, where: TracebackType | None
) -> None:
    """Print the traceback of a bug as Python does, cleaned: an error may quote hostile text."""
    if sys.stderr is not None:
        sys.stderr.write(clean_lines("".join(traceback.format_exception(kind, error, where))) + "\n")


def run(arguments: list[str]) -> int:  # noqa: C901, PLR0911 - an exit code a kind of end
    """Run one command; return the exit code. A LyftdataError becomes a message, never a traceback."""
    refuse_secrets_in_arguments(arguments)
    missing = missing_streams()
    if missing:
        _refuse_without(missing)
        return EXIT_USAGE
    try:
        result = cli.main(arguments, prog_name="lyftdata", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        echo_err("Aborted.")
        return EXIT_FAILED
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except SettingsError as error:
        for problem in error.problems:
            echo_err(f"Error: {problem}")
        return EXIT_USAGE
    except LyftdataError as error:
        _print_error_lines(f"Error: {error.message}")
        if error.hint:
            _print_error_lines(f"Hint: {error.hint}")
        return (
            EXIT_WAITS
            if getattr(error, "problem_code", "") == SecondOperatorRequiredError.code
            else EXIT_FAILED
        )
    except BrokenPipeError:
        # The reader of our output is gone (`| head`): nothing is wrong, and nothing could be reported.
        sys.stderr.close()
        return EXIT_FAILED
    except OutputError as error:
        echo_err(
            f"Error: the output could not be written: {error.strerror}. "
            "If this command made a key or a password, it was lost: revoke or reset it."
        )
        discard_output()
        return EXIT_FAILED
    except OSError as error:
        echo_err(f"Error: {_describe(error)}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _refuse_without(missing: list[str]) -> None:
    """Report on the remaining standard stream why nothing was done."""
    stream = sys.stderr or sys.stdout
    if stream is not None:
        stream.write(
            f"Error: {' and '.join(missing)} is closed, and a key or password that this command makes would be lost. "
            "Redirect it to a file, or to /dev/null.\n"
        )


def _describe(error: OSError) -> str:
    """Return an error of the operating system as a sentence: the file, if any, and what is wrong."""
    problem = error.strerror or str(error) or type(error).__name__
    return f"{problem}." if error.filename is None else f"{error.filename}: {problem}."


def _show(error: click.ClickException) -> None:
    """Show wrong usage as click does, cleaned: an argument may be a name that someone else chose."""
    text = io.StringIO()
    error.show(file=text)
    _print_error_lines(text.getvalue().rstrip("\n"))


def _print_error_lines(text: str) -> None:
    """Print an error message of a Server or of click on standard error, at most `_MAX_LINES` lines."""
    for line in text.splitlines()[:_MAX_LINES]:
        echo_err(line[:_MAX_LINE_LENGTH])


_SECRET_FLAGS = {
    "--password": "lyftdata login asks for it, or reads it with --password-stdin",
    "--api-token": "set LYFTDATA_API_TOKEN or LYFTDATA_API_TOKEN_FILE",
    "--token": "set LYFTDATA_API_TOKEN or LYFTDATA_API_TOKEN_FILE",
    "--api-key": "set LYFTDATA_WORKER_API_KEY or LYFTDATA_WORKER_API_KEY_FILE",
    "--worker-api-key": "set LYFTDATA_WORKER_API_KEY or LYFTDATA_WORKER_API_KEY_FILE",
    "--auto-enrollment-key": "set LYFTDATA_AUTO_ENROLLMENT_KEY or LYFTDATA_AUTO_ENROLLMENT_KEY_FILE",
    "--enrollment-key": "set LYFTDATA_AUTO_ENROLLMENT_KEY or LYFTDATA_AUTO_ENROLLMENT_KEY_FILE",
    "--auto-enrollment-key-previous": "set LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS or its _FILE",
    "--admin-init-password": "set LYFTDATA_ADMIN_INIT_PASSWORD or LYFTDATA_ADMIN_INIT_PASSWORD_FILE",
    "--secret-key": "set LYFTDATA_SECRET_KEY or LYFTDATA_SECRET_KEY_FILE",
    "--secret-key-next": "set LYFTDATA_SECRET_KEY_NEXT or LYFTDATA_SECRET_KEY_NEXT_FILE",
    "--database-url": "set LYFTDATA_DATABASE_URL or LYFTDATA_DATABASE_URL_FILE",
}


def refuse_secrets_in_arguments(arguments: list[str]) -> None:
    """Reject an option that would carry a secret, and name the way to pass it; the value is not repeated."""
    for argument in arguments:
        if argument == "--":
            return
        flag = argument.partition("=")[0]
        if flag in _SECRET_FLAGS:
            echo_err(
                f"Error: {flag} does not exist: a secret on the command line can be read by everyone on this machine. "
                f"Instead: {_SECRET_FLAGS[flag]}. If you have just typed a real secret, replace it."
            )
            sys.exit(EXIT_USAGE)
