"""Reloads the Server's certificate when it is renewed on disk."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn

from lyftdata.core.errors import SettingsError
from lyftdata.core.log_events.server import CERTIFICATE_RELOAD_FAILED, CERTIFICATE_RELOADED
from lyftdata.log import emit, get_logger
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.tls_files import check_tls_files, load_certificate

_log = get_logger(__name__)

_CERT_CHECK_EVERY_S = 30.0


@contextlib.asynccontextmanager
async def certificate_kept_fresh(server: uvicorn.Server, settings: ServerSettings) -> AsyncIterator[None]:
    """Reload a certificate when it is renewed on disk; new connections get it, open ones are kept."""
    if settings.tls_cert is None or settings.tls_key is None:
        yield
        return
    task = asyncio.create_task(_watch_certificate(server, settings.tls_cert, settings.tls_key))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch_certificate(server: uvicorn.Server, cert: Path, key: Path) -> None:
    seen = reported = _stamp(cert, key)
    while True:
        await asyncio.sleep(_CERT_CHECK_EVERY_S)
        now = _stamp(cert, key)
        if now == seen or server.config.ssl is None:
            continue
        try:
            # Checked in another context first: half a renewal, a certificate without its key, would break the context in use.
            check_tls_files(cert, key)
            load_certificate(server.config.ssl, cert, key)
        except (OSError, SettingsError) as error:
            # Keep using the loaded one, and try again.
            if now != reported:
                emit(_log, CERTIFICATE_RELOAD_FAILED, problem=str(error))
            reported = now
            continue
        seen = now
        emit(_log, CERTIFICATE_RELOADED)


def _stamp(*files: Path) -> list[tuple[int, int]]:
    try:
        return [(status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in files)]
    except OSError:
        return []
