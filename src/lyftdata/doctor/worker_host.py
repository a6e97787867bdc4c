"""Checks a Worker's host before anything is sent: settings, secret files, directory, strategy."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from lyftdata.core.errors import SettingsError
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding, each_problem
from lyftdata.doctor.secret_files import check_secret_files
from lyftdata.worker.identity.credentials import choose_credential
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import WorkerSettings


def check_host(settings: WorkerSettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong on this host, given settings that could be read; creates and changes nothing."""
    for warning in settings.warnings:
        yield Finding(
            findings.SETTING_SUSPICIOUS, warning, "Correct it, or remove the setting if it is not meant."
        )
    yield from check_secret_files(environ)
    yield from _check_transport(settings)
    directory = StateDirectory(settings.jobs_dir)
    try:
        directory.load_identity()
    except SettingsError as error:
        # An API-key Worker stores nothing; a directory that it does not use cannot prevent its start.
        if settings.api_key is None:
            yield from each_problem(
                findings.DIRECTORY_UNUSABLE,
                error,
                "Correct it as described, as the user that runs the Worker.",
            )
            return
    yield from _check_strategy(settings, directory)


def _check_transport(settings: WorkerSettings) -> Iterator[Finding]:
    if settings.tls_insecure and settings.url.startswith("https:"):
        yield Finding(
            findings.TLS_NOT_CHECKED,
            "LYFTDATA_TLS_INSECURE is on: the Server's certificate is not checked.",
            "Unset LYFTDATA_TLS_INSECURE; for a CA of your own set LYFTDATA_TLS_CA to its certificate.",
        )
    if settings.allow_http and settings.url.startswith("http:"):
        yield Finding(
            findings.PLAIN_HTTP,
            f"LYFTDATA_URL is {settings.url}, and LYFTDATA_ALLOW_HTTP is on.",
            "Give the Server a certificate (LYFTDATA_TLS_CERT, LYFTDATA_TLS_KEY) or a proxy that has one, then set LYFTDATA_URL "
            "to https://… and unset LYFTDATA_ALLOW_HTTP.",
        )


def _check_strategy(settings: WorkerSettings, directory: StateDirectory) -> Iterator[Finding]:
    try:
        credential = choose_credential(settings, directory)
    except SettingsError as error:
        yield from each_problem(
            findings.NO_CREDENTIAL, error, "Correct it as described, then start the Worker again."
        )
        return
    if credential is None:
        yield from _check_writable(directory.path)


def _check_writable(path: Path) -> Iterator[Finding]:
    """Yield what prevents the Worker from creating or writing its directory; checks the nearest existing parent."""
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        yield Finding(
            findings.DIRECTORY_UNUSABLE,
            f"LYFTDATA_JOBS_DIR: {nearest} is not a directory.",
            "Set LYFTDATA_JOBS_DIR to a directory of this Worker's own.",
        )
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding(
            findings.DIRECTORY_READ_ONLY,
            f"LYFTDATA_JOBS_DIR: this user cannot write to {nearest}.",
            "Give it to the Worker's user, or set LYFTDATA_JOBS_DIR to a directory of its own: "
            f"chown {os.geteuid()} {shlex.quote(str(nearest))}",
        )
