"""Checks before a Server uses its state, at startup and for `lyftdata config check server`."""

from collections.abc import Callable

from lyftdata.core.errors import SettingsError
from lyftdata.server.runtime.data_dir import check_staging_dir_or_parent
from lyftdata.server.runtime.secret_keys import check_secret_key_file
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.tls_files import check_database_ca, check_tls_files
from lyftdata.server.runtime.worker_ca import check_worker_ca


def check_files(settings: ServerSettings) -> None:
    """
    Check the files and directories that the settings name; nothing is created or changed.

    Raises:
        SettingsError: Names every fault.
    """
    problems: list[str] = []
    checks: list[Callable[[], None]] = [
        lambda: check_tls_files(settings.tls_cert, settings.tls_key),
        lambda: check_worker_ca(settings.worker_tls_ca),
        lambda: check_database_ca(settings.database_url),
        lambda: check_staging_dir_or_parent(settings.staging_dir),
    ]
    if settings.secret_key is None:
        checks.append(lambda: check_secret_key_file(settings.staging_dir))
    for check in checks:
        try:
            check()
        except SettingsError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise SettingsError(problems)
