"""Starts and stops tracing if LYFTDATA_TRACING is on; otherwise nothing of OpenTelemetry is loaded."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from lyftdata.core.errors import SettingsError
from lyftdata.server.runtime.settings import ServerSettings

if TYPE_CHECKING:
    from lyftdata.server.runtime.tracing import Tracing


@contextlib.asynccontextmanager
async def traced(settings: ServerSettings) -> "AsyncIterator[Tracing | None]":
    """
    Yield the tracing of a Server, None if it is off; at the end, send what is queued, for a few seconds at most.

    Raises:
        SettingsError: The extra `otel` is not installed.
    """
    if not settings.tracing:
        yield None
        return
    try:
        from lyftdata.server.runtime.tracing import start_tracing
    except ImportError as missing:
        raise SettingsError(
            [f"LYFTDATA_TRACING: {missing.name} is not installed; install the extra `otel`, or unset it."]
        ) from None
    tracing = start_tracing(os.environ)
    try:
        yield tracing
    finally:
        await asyncio.to_thread(tracing.close)
