"""Limits the duration of a TLS handshake: uvicorn has no setting for it, and event loops allow a minute."""

import asyncio
from typing import Any

HANDSHAKE_WITHIN_S = 15.0


def with_bounded_handshakes(loop: type[asyncio.AbstractEventLoop]) -> type[asyncio.AbstractEventLoop]:
    """Return an event loop whose TLS servers close a connection whose handshake or shutdown takes too long."""

    class BoundedLoop(loop):  # type: ignore[misc, valid-type]
        async def create_server(self, *args: Any, **options: Any) -> Any:
            if options.get("ssl") is not None:
                options |= {
                    "ssl_handshake_timeout": HANDSHAKE_WITHIN_S,
                    "ssl_shutdown_timeout": HANDSHAKE_WITHIN_S,
                }
            return await super().create_server(*args, **options)

    return BoundedLoop
