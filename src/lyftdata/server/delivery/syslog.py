"""
Sends messages to a syslog server over TCP or TLS.

Syslog has no acknowledgement. A connection is made for each batch and closed cleanly: once the receiver has closed its side too, it has
read everything. If the connection breaks instead, the batch counts as not delivered, and is sent again.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lyftdata.core.event_destinations import Endpoint, endpoint_of
from lyftdata.core.syslog_messages import format_message
from lyftdata.server.delivery.addresses import AllowedAddresses
from lyftdata.server.delivery.messages import DeliveryError, Destination, Message, Outcome
from lyftdata.server.delivery.tls import TlsContexts

_WITHIN_S = 15.0
_MAX_READ = 4_096


class SyslogSender:
    """
    Sends messages as RFC 5424.

    Args:
        addresses: Decides which addresses it may connect to.
        contexts: TLS contexts.
        threads: Sending blocks.
        hostname: HOSTNAME of the messages.
    """

    def __init__(
        self,
        *,
        addresses: AllowedAddresses,
        contexts: TlsContexts,
        threads: ThreadPoolExecutor,
        hostname: str,
    ) -> None:
        self._addresses = addresses
        self._contexts = contexts
        self._threads = threads
        self._hostname = hostname

    async def send(self, destination: Destination, messages: Sequence[Message]) -> Outcome:
        """Send messages, all or none; see `Sender.send`."""
        endpoint = endpoint_of(destination.url)
        try:
            addresses = await self._addresses.find(endpoint)
            context = await self._contexts.get(destination.ca) if endpoint.is_encrypted else None
            batch = b"".join(self._frame(message) for message in messages)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, _send, endpoint, addresses, context, batch)
        except DeliveryError as error:
            return Outcome(0, str(error))
        return Outcome(len(messages))

    def _frame(self, message: Message) -> bytes:
        return format_message(
            json.dumps(json.loads(message.body), separators=(",", ":")),
            at=message.at,
            hostname=self._hostname,
            msgid=message.type,
            is_alert=message.type.startswith("alert."),
        )


def _send(endpoint: Endpoint, addresses: Sequence[str], context: ssl.SSLContext | None, batch: bytes) -> None:
    """Send a batch, and wait until the receiver has read it; raises DeliveryError."""
    deadline_s = time.monotonic() + _WITHIN_S

    def left_s() -> float:
        # Starvation: a receiver that sends a byte now and then could otherwise keep the thread as long as it likes.
        left = deadline_s - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    try:
        with _connect(endpoint, addresses, left_s) as plain:
            plain.settimeout(left_s())
            if context is None:
                plain.sendall(batch)
                plain.shutdown(socket.SHUT_WR)
                _await_end(plain, left_s)
                return
            with context.wrap_socket(plain, server_hostname=endpoint.host) as encrypted:
                encrypted.settimeout(left_s())
                encrypted.sendall(batch)
                _close_tls(encrypted, left_s)
    except TimeoutError:
        raise DeliveryError(
            f"{endpoint.text} did not read the messages and close the connection within {_WITHIN_S:g} s."
        ) from None
    except OSError as error:
        raise DeliveryError(f"{endpoint.text}: {error.strerror or error}.") from error


def _connect(endpoint: Endpoint, addresses: Sequence[str], left_s: Callable[[], float]) -> socket.socket:
    """Connect to the first address that answers."""
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, endpoint.port), timeout=left_s())
    return socket.create_connection((addresses[-1], endpoint.port), timeout=left_s())


def _await_end(connection: socket.socket, left_s: Callable[[], float]) -> None:
    """Read until the peer closes the connection; a reset raises OSError."""
    connection.settimeout(left_s())
    while connection.recv(_MAX_READ):
        connection.settimeout(left_s())


def _close_tls(encrypted: ssl.SSLSocket, left_s: Callable[[], float]) -> None:
    """Send `close_notify`, and wait for the peer's (RFC 5425, section 4.4)."""
    encrypted.settimeout(left_s())
    try:
        plain = encrypted.unwrap()
    except ssl.SSLEOFError:
        # It closed the connection cleanly, but without its own close_notify.
        return
    with contextlib.closing(plain):
        _await_end(plain, left_s)
