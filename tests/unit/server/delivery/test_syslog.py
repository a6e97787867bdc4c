"""Syslog receivers that misbehave."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from tests.builders import NOON

from lyftdata.core.records import Transport
from lyftdata.server.delivery import syslog
from lyftdata.server.delivery.addresses import AllowedAddresses
from lyftdata.server.delivery.messages import Destination, make_test_message
from lyftdata.server.delivery.syslog import SyslogSender
from lyftdata.server.delivery.tls import TlsContexts


@contextmanager
def endless_receiver() -> Iterator[int]:
    """Listen, and send endlessly to the first client that connects; return the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send_without_end() -> None:
            with suppress(OSError), listener.accept()[0] as connection:
                while True:
                    connection.sendall(b"x" * 1_024)

        thread = threading.Thread(target=send_without_end)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


async def test_a_receiver_that_sends_endlessly_does_not_occupy_a_thread(monkeypatch):
    """A delivery ends in time whatever comes back: occupied threads would stop all deliveries, and the Server could not shut down."""
    monkeypatch.setattr(syslog, "_WITHIN_S", 0.5)
    with ThreadPoolExecutor(2) as threads, endless_receiver() as port:
        sender = SyslogSender(
            addresses=AllowedAddresses([ipaddress.ip_network("127.0.0.0/8")], threads=threads),
            contexts=TlsContexts(threads),
            threads=threads,
            hostname="lyft.example",
        )
        destination = Destination(
            name="siem", transport=Transport.SYSLOG, url=f"tcp://127.0.0.1:{port}", secrets=(), ca=""
        )
        message = make_test_message(
            "siem", operator="admin", at=NOON, unique="1", source="https://lyft.example"
        )

        outcome = await sender.send(destination, [message])

    assert outcome.delivered == 0
    assert "did not read the messages and close the connection" in outcome.error
