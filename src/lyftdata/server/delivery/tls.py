"""Creates TLS contexts for deliveries, outside the event loop: loading the system's certificates takes tens of milliseconds."""

import asyncio
import ssl
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

_MAX_KEPT = 32


class TlsContexts:
    """
    TLS contexts, by the certificates they trust.

    Args:
        threads: Where they are created.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._made: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    async def get(self, ca: str) -> ssl.SSLContext:
        """
        Return the context that trusts these certificates.

        Args:
            ca: PEM; "" means the system's.
        """
        if ca not in self._made:
            loop = asyncio.get_running_loop()
            self._made[ca] = await loop.run_in_executor(self._threads, _make, ca)
            while len(self._made) > _MAX_KEPT:
                self._made.popitem(last=False)
        return self._made[ca]


def _make(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca or None)
