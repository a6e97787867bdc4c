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
    """Load a certificate again when it is renewed on disk; new connections get it, living ones stay."""
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
    seen = told = _stamp(cert, key)
    while True:
        await asyncio.sleep(_CERT_CHECK_EVERY_S)
        now = _stamp(cert, key)
        if now == seen or server.config.ssl is None:
            continue
        try:
            # Tried elsewhere first: a certificate without its key, half a renewal, would break the context in use.
            check_tls_files(cert, key)
            load_certificate(server.config.ssl, cert, key)
        except (OSError, SettingsError) as error:
            # Keep the one in force and look again.
            if now != told:
                emit(_log, CERTIFICATE_RELOAD_FAILED, problem=str(error))
            told = now
            continue
        seen = now
        emit(_log, CERTIFICATE_RELOADED)


def _stamp(*files: Path) -> list[tuple[int, int]]:
    try:
        return [(status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in files)]
    except OSError:
        return []
