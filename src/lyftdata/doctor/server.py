"""Examines a Server's host: its settings and files, its database, and whether its public address leads to it."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import httpx2
from cryptography.x509 import load_pem_x509_certificates

from lyftdata.bounded_http import (
    Answer,
    Request,
    ServerEndpoint,
    UnreachableError,
    asend,
    connection_options,
)
from lyftdata.client.server_clock import utc_now
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.origins import same_origin
from lyftdata.core.text import clean_text
from lyftdata.doctor import findings
from lyftdata.doctor.answer_faults import check_of_failure, check_of_status
from lyftdata.doctor.database import check_database, find_signing_key, has_database
from lyftdata.doctor.findings import Finding, each_problem, is_stopped_by
from lyftdata.doctor.network import Target, check_connection, check_expiry
from lyftdata.doctor.operators_issuer import check_issuer
from lyftdata.doctor.secret_files import check_private, check_secret_files
from lyftdata.server.runtime.issuer import issuer_of, warnings_of
from lyftdata.server.runtime.settings import (
    ServerSettings,
    read_server_settings,
    unnamed_proxy,
    weak_keys,
)
from lyftdata.server.runtime.start_checks import check_files

_SEE_ALL = "Correct it, then run `lyftdata config check server` to see the settings as they are read."
_MIN_FREE_BYTES = 200 * 1024 * 1024
_ANSWER_WITHIN_S = 10.0


async def examine_server(
    environ: Mapping[str, str], *, tls_ca: Path | None = None, now: Callable[[], datetime] = utc_now
) -> list[Finding]:
    """
    Return everything that is wrong with a Server's set-up. Changes nothing.

    Args:
        environ: The environment that the Server is started with.
        tls_ca: Certificates to trust instead of the system's, as on the Workers; None for those of LYFTDATA_WORKER_TLS_CA.
        now: For tests: this host's time, aware UTC.
    """
    try:
        settings = read_server_settings(environ)
        check_files(settings)
    except SettingsError as error:
        return list(each_problem(findings.SETTING_INVALID, error, _SEE_ALL))
    found = [*_check_host(settings, environ, now=now()), *_check_certificate_file(settings, now=now())]
    seen = {finding.check for finding in found}
    found += [finding async for finding in check_issuer(settings, now=now())]
    trusted = tls_ca or settings.worker_tls_ca
    answered = [finding async for finding in _check_address(settings, tls_ca=trusted, now=now())]
    # An expiring certificate is found twice: in its file and at the address.
    return [*found, *(finding for finding in answered if finding.check not in seen)]


def _check_host(settings: ServerSettings, environ: Mapping[str, str], *, now: datetime) -> Iterator[Finding]:
    yield from _check_settings(settings)
    yield from check_secret_files(environ)
    if settings.tls_key is not None:
        yield from check_private("LYFTDATA_TLS_KEY", settings.tls_key)
    yield from _check_disk(settings.staging_dir)
    yield from check_database(settings, now=now)


def _check_settings(settings: ServerSettings) -> Iterator[Finding]:
    named = {
        **dict.fromkeys(unnamed_proxy(settings), (findings.PROXY_NOT_NAMED, "Set LYFTDATA_TRUSTED_PROXIES.")),
        **dict.fromkeys(
            weak_keys(settings),
            (
                findings.SECRET_WEAK,
                "Rotate it: lyftdata enrollment generate-key, then see `lyftdata enrollment status`.",
            ),
        ),
    }
    other = (findings.SETTING_SUSPICIOUS, "Correct it, or remove the setting if it is not meant.")
    for warning in warnings_of(settings, issuer_of(settings)):
        check, fix = named.get(warning, other)
        yield Finding(check, warning, fix)


def _check_certificate_file(settings: ServerSettings, *, now: datetime) -> Iterator[Finding]:
    """Check the file, which the next start uses, whatever the running Server presents."""
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


async def _check_address(
    settings: ServerSettings, *, tls_ca: Path | None, now: datetime
) -> AsyncIterator[Finding]:
    """Check the address that Workers are given."""
    public_url, signing_key = issuer_of(settings), find_signing_key(settings, now=now)
    target = Target(
        public_url,
        tls_ca=tls_ca,
        url_setting="LYFTDATA_PUBLIC_URL",
        trust="name it in LYFTDATA_WORKER_TLS_CA, and let Workers trust it (LYFTDATA_TLS_CA):",
    )
    found = list(check_connection(target, now=now))
    for finding in found:
        yield finding
    if is_stopped_by(found):
        return
    async for finding in _check_published(public_url, tls_ca=tls_ca, signing_key=signing_key):
        yield finding
        found.append(finding)
    if not is_stopped_by(found) and not has_database(settings):
        yield _without_database(settings, public_url)


def _without_database(settings: ServerSettings, public_url: str) -> Finding:
    """Return the finding that the Server at this address uses another database: the command was started without its settings."""
    place = (
        f"LYFTDATA_STAGING_DIR, {settings.staging_dir},"
        if settings.database_url is None
        else "LYFTDATA_DATABASE_URL"
    )
    return Finding(
        findings.ANOTHER_SERVER,
        f"A Server answers at {public_url}, but {place} has no database of a Server.",
        "Run this command with the environment of that Server and as its user.",
    )


async def _check_published(
    public_url: str, *, tls_ca: Path | None, signing_key: str | None
) -> AsyncIterator[Finding]:
    """Yield what is wrong with what the Server publishes at that address."""
    endpoint = ServerEndpoint(server_url=public_url, tls_ca=tls_ca, timeout_s=_ANSWER_WITHIN_S)
    try:
        async with httpx2.AsyncClient(**connection_options(endpoint, user_agent="lyftdata-doctor")) as http:
            metadata = await _get(http, f"{public_url}/.well-known/oauth-authorization-server")
            keys = await _get(http, f"{public_url}/.well-known/jwks.json")
    except (UnreachableError, InvalidInputError, OSError) as error:
        yield Finding(
            check_of_failure(error),
            clean_text(str(error), 300),
            "Look for a proxy, a firewall or a Server there that hangs; or correct LYFTDATA_PUBLIC_URL.",
        )
        return
    wrong = _check_metadata(public_url, metadata) or _check_jwks(public_url, keys, signing_key)
    if wrong is not None:
        yield wrong


async def _get(http: httpx2.AsyncClient, url: str) -> Answer:
    return await asend(http, Request("GET", url), within_s=_ANSWER_WITHIN_S)


def _check_metadata(public_url: str, answer: Answer) -> Finding | None:
    issuer = answer.json_object().get("issuer")
    if not isinstance(issuer, str):
        return Finding(
            check_of_status(answer.status),
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


def _check_jwks(public_url: str, answer: Answer, signing_key: str | None) -> Finding | None:
    keys = answer.json_object().get("keys")
    published = {key.get("kid") for key in keys if isinstance(key, dict)} if isinstance(keys, list) else set()
    if signing_key is None or signing_key in published:
        return None
    return Finding(
        findings.SIGNING_KEY_NOT_PUBLISHED,
        f"{public_url}/.well-known/jwks.json does not hold the key {signing_key}, with which this Server signs.",
        "Let no proxy or CDN keep that answer for longer than its Cache-Control says; or correct LYFTDATA_PUBLIC_URL, "
        "if another Server answers there.",
    )
