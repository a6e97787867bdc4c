"""`lyftdata run server` and `lyftdata run worker`: run a Server or a Worker."""

import asyncio
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import click

from lyftdata.core.installation import INSTALL_SERVER
from lyftdata.core.settings import Setting

_SERVER_LIBRARIES = (
    "alembic",
    "argon2",
    "fastapi",
    "httptools",
    "prometheus_client",
    "sqlalchemy",
    "uvicorn",
    "zxcvbn",
)


@click.group()
def run() -> None:
    """
    Run a Server or a Worker.

    \b
    Example:
      lyftdata run server
      LYFTDATA_WORKER_ID=press-01 LYFTDATA_WORKER_API_KEY_FILE=key.txt lyftdata run worker -- ./press
    """


def _settings_options(table: Sequence[Setting]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the flags that mirror a table of settings; secrets have none."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for setting in reversed(table):
            if setting.flag is not None:
                text = setting.doc.replace("`", "").partition(". ")[0].rstrip(".") + f". [{setting.name}]"
                click.option(setting.flag, setting.field, is_flag=setting.is_switch, help=text)(command)
        return command

    return decorate


def _flags(table: Sequence[Setting], given: dict[str, Any]) -> dict[str, str | None]:
    flags: dict[str, str | None] = {}
    for setting in table:
        value = given.get(setting.field)
        if setting.flag is not None:
            flags[setting.flag] = ("yes" if value else None) if setting.is_switch else value
    return flags


class _LateOptions(click.Command):
    """A command whose options come from a table in a module that is imported only when needed."""

    def __init__(self, table: Callable[[], Sequence[Setting]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._table = table
        self._ready = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Build the options when they are first needed."""
        if not self._ready:
            self._ready = True
            holder = click.Command("holder")
            decorated = _settings_options(self._table())(lambda: None)
            holder.params = list(reversed(getattr(decorated, "__click_params__", [])))
            self.params[:0] = holder.params
        return super().get_params(ctx)


def server_table() -> Sequence[Setting]:
    """Return the Server's settings."""
    from lyftdata.server.runtime.settings_table import TABLE

    return TABLE


def require_server() -> None:
    """Report how to install the Server if only the Worker is installed; checks without importing, which would take a second."""
    missing = [name for name in _SERVER_LIBRARIES if not _is_installed(name)]
    if missing:
        raise click.ClickException(
            f"The Server is not installed here ({', '.join(missing)} missing). {INSTALL_SERVER}"
        )


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ValueError:
        return False


def worker_table() -> Sequence[Setting]:
    """Return the Worker's settings."""
    from lyftdata.worker.settings import TABLE

    return TABLE


def _run_server(**given: Any) -> int:
    require_server()
    table = server_table()
    from lyftdata.server.runtime.settings import read_server_settings
    from lyftdata.serving import run_server

    return run_server(read_server_settings(os.environ, _flags(table, given)))


def _run_worker(command: tuple[str, ...], **given: Any) -> int:
    from lyftdata.cli.output import echo_err
    from lyftdata.core.errors import LyftdataError
    from lyftdata.log import configure_logging
    from lyftdata.worker.end_report import EndReport
    from lyftdata.worker.process.command import CommandError
    from lyftdata.worker.run import run_worker
    from lyftdata.worker.settings import read_worker_settings

    end_report = EndReport(dict(os.environ))
    try:
        settings = read_worker_settings(os.environ, _flags(worker_table(), given))
        inherited_umask = os.umask(0o077)
        configure_logging(format=settings.log_format, level=settings.log_level)
        return asyncio.run(run_worker(settings, command, end_report=end_report, umask=inherited_umask))
    except CommandError as error:
        end_report.failed(error)
        echo_err(f"Error: {error.message}")
        return error.exit_code
    except LyftdataError as error:
        end_report.failed(error)
        raise


run.add_command(
    _LateOptions(
        server_table,
        name="server",
        callback=_run_server,
        help="""Run the Server, until SIGTERM or Ctrl-C.

        Settings come from the environment (docs/reference/settings.md); these flags mirror them. Secrets come from
        variables or files only.

        \b
        Example:
          LYFTDATA_AUTO_ENROLLMENT_KEY_FILE=/run/secrets/enrollment lyftdata run server --bind-address 127.0.0.1:3000
        """,
    )
)
run.add_command(
    _LateOptions(
        worker_table,
        name="worker",
        params=[click.Argument(["command"], nargs=-1, type=click.UNPROCESSED)],
        callback=_run_worker,
        help="""Run a Worker: stay connected, and run COMMAND under its identity while the Server allows it.

        With an API key: LYFTDATA_WORKER_ID and LYFTDATA_WORKER_API_KEY. By Auto-Enrollment: LYFTDATA_WORKER_NAME and
        LYFTDATA_AUTO_ENROLLMENT_KEY. COMMAND inherits none of the Worker's secrets; its current token is in the file
        LYFTDATA_WORKER_TOKEN_FILE, and at the socket LYFTDATA_WORKER_TOKEN_SOCKET. Exits with COMMAND's code (128+n for signal n;
        127 or 126 if there is no such program or it cannot be run), or 3 if the Server has refused the Worker permanently.

        \b
        Example:
          LYFTDATA_WORKER_ID=press-01 LYFTDATA_WORKER_API_KEY_FILE=key.txt lyftdata run worker -- ./press --fast
        """,
    )
)
