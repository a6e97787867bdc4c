"""`lyftdata config check`: whether start-up settings can be used, all faults at once."""

import os
from collections.abc import Sequence
from typing import Any

import click

from lyftdata.cli.output import echo, json_option, print_json, say
from lyftdata.cli.run import require_server, server_table, worker_table
from lyftdata.core.errors import SettingsError
from lyftdata.core.settings import Setting

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
@json_option
def check(side: str, *, as_json: bool) -> int:
    """
    Read the settings from this environment and say every fault at once; secrets are shown as ***.

    A Server's PostgreSQL database is asked what it lets other roles do. Exit 0 if the settings can be used, 2 if not.

    \b
    Example:
      lyftdata config check worker
    """
    table = server_table() if side == "server" else worker_table()
    try:
        settings = _read(side)
    except SettingsError as error:
        if as_json:
            print_json({"ok": False, "problems": error.problems, "warnings": [], "settings": {}})
        else:
            for problem in error.problems:
                say(f"Error: {problem}")
        return EXIT_USAGE
    warnings = [*settings.warnings, *(_database_warnings(settings) if side == "server" else ())]
    shown = {setting.name: _shown(getattr(settings, setting.field)) for setting in table}
    if as_json:
        print_json({"ok": True, "problems": [], "warnings": warnings, "settings": shown})
    else:
        _print(table, shown, warnings)
    return 0


def _read(side: str) -> Any:
    """Read one side's settings, and for a Worker ask which strategy they come to."""
    if side == "server":
        require_server()
        from lyftdata.server.settings import read_server_settings
        from lyftdata.server.tls_files import check_tls_files

        server = read_server_settings(os.environ)
        check_tls_files(server.tls_cert, server.tls_key)
        return server
    from lyftdata.worker.client import proxy_of
    from lyftdata.worker.credentials import choose_credential
    from lyftdata.worker.settings import read_worker_settings
    from lyftdata.worker.state import StateDirectory

    settings = read_worker_settings(os.environ)
    proxy_of(settings)
    choose_credential(settings, StateDirectory(settings.jobs_dir))
    return settings


def _database_warnings(settings: Any) -> list[str]:
    """Ask the PostgreSQL database what it lets other roles do; a file has its mode."""
    if settings.database_url is None:
        return []
    from lyftdata.store import exposure

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
        say(f"Warning: {warning}")
    say("The settings can be used.")
