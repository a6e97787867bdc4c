"""`lyftdata config check`: checks start-up settings, and reports every fault at once."""

import os
from collections.abc import Sequence
from typing import Any

import click

from lyftdata.cli.output import echo, echo_err, json_option, print_json
from lyftdata.cli.run import require_server, server_table, worker_table
from lyftdata.core.errors import LyftdataError, SettingsError
from lyftdata.core.settings import Setting

EXIT_FAILED = 1
EXIT_USAGE = 2


@click.group()
def config() -> None:
    """
    Check start-up settings.

    \b
    Example:
      lyftdata config check server
    """


@config.command()
@click.argument("side", type=click.Choice(["server", "worker"]))
@click.option("--connect", is_flag=True, help="Connect to the Server's PostgreSQL database, too.")
@json_option
def check(side: str, *, connect: bool, as_json: bool) -> int:
    """
    Check the settings in this environment and report all faults; secrets are shown as ***.

    The files that they name (certificates, keys, directories) are checked in the same way as at a start. With --connect, it also
    connects to a Server's PostgreSQL database and checks what other roles may do there. Exit 0 if the settings are valid, 2 if not,
    1 if only the database cannot be reached.

    \b
    Example:
      lyftdata config check worker
      lyftdata config check server --connect
    """
    table = server_table() if side == "server" else worker_table()
    try:
        settings, found = _read(side)
        if side == "server" and connect:
            found = _database_warnings(settings)
    except SettingsError as error:
        return _report(error.problems, EXIT_USAGE, as_json=as_json)
    except LyftdataError as error:
        return _report([error.message], EXIT_FAILED, as_json=as_json)
    warnings = [*settings.warnings, *found]
    shown = {setting.name: _shown(getattr(settings, setting.field)) for setting in table}
    if as_json:
        print_json({"ok": True, "problems": [], "warnings": warnings, "settings": shown})
    else:
        _print(table, shown, warnings)
    return 0


def _report(problems: Sequence[str], code: int, *, as_json: bool) -> int:
    """Print problems; return the exit code."""
    if as_json:
        print_json({"ok": False, "problems": list(problems), "warnings": [], "settings": {}})
    else:
        for problem in problems:
            echo_err(f"Error: {problem}")
    return code


def _read(side: str) -> tuple[Any, list[str]]:
    """Read one side's settings, and for a Worker choose the strategy; return the settings and further warnings."""
    if side == "server":
        require_server()
        from lyftdata.server.runtime.settings import read_server_settings
        from lyftdata.server.runtime.start_checks import check_files

        server = read_server_settings(os.environ)
        check_files(server)
        return server, []
    from lyftdata.bounded_http import proxy_for
    from lyftdata.worker.identity.credentials import choose_credential
    from lyftdata.worker.identity.enrollment import list_unconfirmed
    from lyftdata.worker.identity.state import StateDirectory
    from lyftdata.worker.settings import read_worker_settings

    settings = read_worker_settings(os.environ)
    proxy_for(settings.url)
    directory = StateDirectory(settings.jobs_dir)
    choose_credential(settings, directory)
    return settings, list_unconfirmed(settings, directory)


def _database_warnings(settings: Any) -> list[str]:
    """
    Check what other roles may do in the PostgreSQL database; a database file is protected by its mode.

    Raises:
        StoreError: The database cannot be reached.
    """
    if settings.database_url is None:
        return []
    from lyftdata.store.dialects import exposure

    return exposure.ask(settings.database_url.reveal())


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, dict):
        return {str(key): str(item) for key, item in value.items()}
    return [str(item) for item in value] if isinstance(value, tuple) else str(value)


def _print(table: Sequence[Setting], shown: dict[str, Any], warnings: Sequence[str]) -> None:
    width = max(len(setting.name) for setting in table)
    for setting in table:
        value = shown[setting.name]
        echo(f"{setting.name.ljust(width)}  {'-' if value in (None, [], {}) else value}")
    for warning in warnings:
        echo_err(f"Warning: {warning}")
    echo_err("The settings can be used.")
