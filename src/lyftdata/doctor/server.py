"""Examines a Server's host: its settings and files, its database, and whether Workers that are sent to its address reach it."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import httpx2
from cryptography.x509 import load_pem_x509_certificates

from lyftdata.bounded_http import Request, ServerEndpoint, UnreachableError, asend, connection_options
from lyftdata.client.server_clock import utc_now
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.origins import same_origin
from lyftdata.core.text import clean_text
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding, each_problem, is_stopped_by
from lyftdata.doctor.network import Target, check_connection, check_expiry
from lyftdata.doctor.secret_files import check_private, check_secret_files
from lyftdata.server.admin.audit_checkpoints import ACCEPT
from lyftdata.server.admin.kept_checkpoint import KeptCheckpoint
from lyftdata.server.runtime.audit_acceptance import find_difference
from lyftdata.server.runtime.issuer import issuer_of, warnings_of
from lyftdata.server.runtime.maintenance import StateLocation
from lyftdata.server.runtime.settings import ServerSettings, read_server_settings
from lyftdata.server.runtime.start_checks import check_files
from lyftdata.store.dialects import exposure
from lyftdata.store.errors import StoreError

_SEE_ALL = "Correct it, then run `lyftdata config check server` to see the settings as they are read."
_MIN_FREE_BYTES = 200 * 1024 * 1024
_ANSWER_WITHIN_S = 10.0


async def examine_server(
    environ: Mapping[str, str], *, tls_ca: Path | None = None, now: Callable[[], datetime] = utc_now
) -> list[Finding]:
    """
    Return everything that is wrong with a Server's set-up; empty if nothing is. Changes nothing.

    Args:
        environ: The environment that the Server is started with.
        tls_ca: Certificates to trust instead of the system's, as Workers are given them.
        now: For tests: this host's time, aware UTC.
    """
    try:
        settings = read_server_settings(environ)
        check_files(settings)
    except SettingsError as error:
        return list(each_problem(findings.SETTING_INVALID, error, _SEE_ALL))
    found = [*_check_host(settings, environ), *_check_certificate_file(settings, now=now())]
    seen = {finding.check for finding in found}
    answered = [finding async for finding in _check_address(issuer_of(settings), tls_ca=tls_ca, now=now())]
    # A certificate that expires is found in its file and at the address.
    return [*found, *(finding for finding in answered if finding.check not in seen)]


def _check_host(settings: ServerSettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    for warning in warnings_of(settings, issuer_of(settings)):
        yield Finding(
            findings.SETTING_SUSPICIOUS, warning, "Correct it, or remove the setting if it is not meant."
        )
    yield from check_secret_files(environ)
    if settings.tls_key is not None:
        yield from check_private("LYFTDATA_TLS_KEY", settings.tls_key)
    yield from _check_disk(settings.staging_dir)
    found = list(_check_database(settings))
    yield from found
    if not is_stopped_by(found):
        yield from _check_audit_log(settings)


def _check_certificate_file(settings: ServerSettings, *, now: datetime) -> Iterator[Finding]:
    """The next start shows what is in the file, whatever the running Server shows."""
    if settings.tls_cert is not None:
        certificate = load_pem_x509_certificates(settings.tls_cert.read_bytes())[0]
        yield from check_expiry(certificate, f"LYFTDATA_TLS_CERT: {settings.tls_cert}", now=now)


def _check_disk(staging_dir: Path) -> Iterator[Finding]:
    nearest = next(place for place in (staging_dir, *staging_dir.absolute().parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    if free < _MIN_FREE_BYTES:
        yield Finding(
            findings.DISK_NEARLY_FULL,
            f"LYFTDATA_STAGING_DIR: {nearest} has {free // 1024 // 1024} MiB left.",
            "Make room, or move the directory to a larger disk (`lyftdata admin backup`, then `restore`).",
        )


def _check_database(settings: ServerSettings) -> Iterator[Finding]:
    """Connect to PostgreSQL; the modes of a file of SQLite are checked with the directory."""
    if settings.database_url is None:
        return
    try:
        exposed = exposure.ask(settings.database_url.reveal())
    except StoreError as error:
        yield Finding(
            findings.DATABASE_UNUSABLE,
            error.message,
            error.hint or "Start the database, or correct LYFTDATA_DATABASE_URL.",
        )
        return
    for sentence in exposed:
        what, _, fix = sentence.rpartition(": ")
        yield Finding(findings.DATABASE_EXPOSED, what or sentence, fix)


def _check_audit_log(settings: ServerSettings) -> Iterator[Finding]:
    """Compare the audit log with the last checkpoint, where there is one."""
    place = StateLocation(
        staging_dir=settings.staging_dir,
        database_url=settings.database_url,
        allow_unverified_database=settings.allow_unverified_database,
        secret_key=settings.secret_key,
        secret_key_next=settings.secret_key_next,
    )
    if not KeptCheckpoint(settings.staging_dir).path.exists():
        return
    try:
        difference = find_difference(place)
    except (StoreError, SettingsError) as error:
        yield Finding(findings.DATABASE_UNUSABLE, error.message, error.hint or "Start the Server once.")
        return
    if difference is not None:
        yield Finding(findings.AUDIT_LOG_CUT, difference.problem, f"If you restored a backup: {ACCEPT}")


async def _check_address(public_url: str, *, tls_ca: Path | None, now: datetime) -> AsyncIterator[Finding]:
    """Ask at the address that Workers are given."""
    target = Target(
        public_url,
        tls_ca=tls_ca,
        url_setting="LYFTDATA_PUBLIC_URL",
        trust="name it with --tls-ca, and let Workers trust it (LYFTDATA_TLS_CA):",
    )
    found = list(check_connection(target, now=now))
    for finding in found:
        yield finding
    if not is_stopped_by(found):
        wrong = await _check_metadata(public_url, tls_ca=tls_ca)
        if wrong is not None:
            yield wrong


async def _check_metadata(public_url: str, *, tls_ca: Path | None) -> Finding | None:
    try:
        endpoint = ServerEndpoint(server_url=public_url, tls_ca=tls_ca, timeout_s=_ANSWER_WITHIN_S)
        async with httpx2.AsyncClient(**connection_options(endpoint, user_agent="lyftdata-doctor")) as http:
            request = Request("GET", f"{public_url}/.well-known/oauth-authorization-server")
            answer = await asend(http, request, within_s=_ANSWER_WITHIN_S)
    except (UnreachableError, InvalidInputError, OSError) as error:
        return Finding(findings.NOT_THE_SERVER, clean_text(str(error), 300), "Check LYFTDATA_PUBLIC_URL.")
    issuer = answer.json_object().get("issuer")
    if not isinstance(issuer, str):
        return Finding(
            findings.NOT_THE_SERVER,
            f"{public_url} answered {answer.status}, and not as a lyftdata Server does.",
            "Let the proxy there pass /.well-known/, /oauth2/ and /api/ on to this Server, or correct LYFTDATA_PUBLIC_URL.",
        )
    if same_origin(issuer, public_url):
        return None
    return Finding(
        findings.ANOTHER_SERVER,
        f"The Server at {public_url} calls itself {clean_text(issuer, 200)}.",
        "Correct LYFTDATA_PUBLIC_URL, or restart the Server with the settings of this environment.",
    )
