"""Webhooks over TLS, sent to the address that was checked."""

import asyncio
import ipaddress
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.builders import NOON, seeded_bytes
from tests.certificates import issued
from tests.webhook_receiver import receiver

from lyftdata.core.records import Transport
from lyftdata.core.standard_webhooks import generate_webhook_secret
from lyftdata.server.clock import utc_now
from lyftdata.server.delivery.addresses import AllowedAddresses
from lyftdata.server.delivery.messages import Destination, Outcome, make_test_message
from lyftdata.server.delivery.tls import TlsContexts
from lyftdata.server.delivery.webhooks import WebhookSender

SECRET = generate_webhook_secret(seeded_bytes()).reveal()
MESSAGES = [
    make_test_message("hook", operator="admin", at=NOON, unique=str(number), source="https://lyft.example")
    for number in range(3)
]


@pytest.fixture
def certified(tmp_path):
    """Return the certificate of a CA, and a context with a certificate for hooks.example issued by it."""
    authority, certificate, key = issued(tmp_path, name="hooks.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return authority.read_text(), context


async def sent(port, *, host="hooks.example", ca="", addresses=("127.0.0.1",)):
    """Send messages to a name that resolves to these addresses; return the outcome, and which names were resolved."""
    asked = []

    def resolve(name, _port):
        asked.append(name)
        return addresses

    with ThreadPoolExecutor(2) as threads:
        sender = WebhookSender(
            addresses=AllowedAddresses(
                [ipaddress.ip_network("127.0.0.0/8")], threads=threads, resolve=resolve
            ),
            contexts=TlsContexts(threads),
            clock=utc_now,
        )
        destination = Destination(
            name="hook",
            transport=Transport.WEBHOOK,
            url=f"https://{host}:{port}/in?a=b",
            secrets=[SECRET],
            ca=ca,
        )
        return await sender.send(destination, MESSAGES), asked


async def test_the_name_is_resolved_once_and_its_certificate_is_checked(certified):
    """DNS rebinding: the connection goes to the address that was checked, while certificate and `Host` are those of the name."""
    ca, context = certified
    with receiver(tls=context) as hook:
        hook.secret = SECRET
        outcome, asked = await sent(hook.port, ca=ca)

    assert (outcome, asked) == (Outcome(3), ["hooks.example"])
    assert {headers["host"] for headers in hook.requests} == {f"hooks.example:{hook.port}"}
    assert [identifier for identifier, _ in hook.accepted] == ["test_0", "test_1", "test_2"]


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
async def test_a_certificate_for_another_name_is_refused(certified, host):
    """Nothing is sent."""
    ca, context = certified
    with receiver(tls=context) as hook:
        outcome, _ = await sent(hook.port, host=host, ca=ca)

    assert (outcome.delivered, hook.requests) == (0, [])
    assert "certificate verify failed" in outcome.error.lower()


async def test_a_certificate_that_the_system_does_not_trust_is_refused(certified):
    """Unless its CA was configured."""
    with receiver(tls=certified[1]) as hook:
        outcome, _ = await sent(hook.port)

    assert (outcome.delivered, hook.requests) == (0, [])


async def test_the_next_address_is_tried_if_one_cannot_be_reached(certified):
    """As a browser does."""
    ca, context = certified
    with receiver(tls=context) as hook:
        hook.secret = SECRET
        outcome, _ = await sent(hook.port, ca=ca, addresses=("127.0.0.2", "127.0.0.1"))

    assert outcome == Outcome(3)


async def test_a_rejected_message_ends_the_batch(certified):
    """The messages after it wait, and the error contains no part of the path."""
    ca, context = certified
    with receiver(tls=context) as hook:
        hook.secret = "whsec_" + "A" * 43 + "="
        outcome, _ = await sent(hook.port, ca=ca)

    assert outcome == Outcome(0, f"hooks.example:{hook.port} answered 401.", is_rejected=True)
    assert len(hook.requests) == 1


@pytest.mark.parametrize(
    ("status", "is_rejected"),
    [(400, True), (403, True), (422, True), (500, True), (502, True), (429, False), (503, False)],
)
async def test_only_a_request_to_wait_is_not_a_rejection(certified, status, is_rejected):
    """Any other answer may be caused by the message: a firewall's, a parser's, or a proxy's whose backend crashed on it."""
    ca, context = certified
    with receiver(tls=context) as hook:
        hook.secret, hook.status = SECRET, status
        outcome, _ = await sent(hook.port, ca=ca)

    assert (outcome.delivered, outcome.is_rejected) == (0, is_rejected)


async def test_a_receiver_that_was_not_reached_has_not_rejected_the_message(certified):
    """Without a trusted connection it has not seen the message."""
    ca, context = certified
    with receiver(tls=context) as hook:
        outcome, _ = await sent(hook.port)
        assert (outcome.delivered, outcome.is_rejected, hook.requests) == (0, False, [])

    outcome, _ = await sent(hook.port, ca=ca)
    assert (outcome.delivered, outcome.is_rejected) == (0, False)


@pytest.mark.parametrize("ends", ["hangs up", "is silent"])
async def test_a_receiver_that_fails_after_it_got_the_message_has_rejected_it(certified, monkeypatch, ends):
    """A firewall resets the connection, or a parser never returns: all that is known is that they got the message."""
    ca, context = certified
    limits, make, is_over = [], asyncio.timeout, asyncio.Event()

    def limit(delay_s):
        limits.append(make(delay_s))
        return limits[-1]

    monkeypatch.setattr(asyncio, "timeout", limit)

    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if ends == "is silent":
            # Let the time limit for an answer end now.
            limits[-1].reschedule(asyncio.get_running_loop().time())
            await is_over.wait()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0, ssl=context) as listening:
        outcome, _ = await sent(listening.sockets[0].getsockname()[1], ca=ca)
        is_over.set()

    assert (outcome.delivered, outcome.is_rejected) == (0, True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nwhat it says\r\n\r\n",
        b"220 what it says\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: what it says\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat it says\r\n\r\n",
    ],
)
async def test_an_error_quotes_no_part_of_an_answer(answer, certified):
    """Server-side request forgery: the operator who chooses a destination must not read what another program answers there."""
    ca, context = certified

    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0, ssl=context) as listening:
        port = listening.sockets[0].getsockname()[1]
        outcome, _ = await sent(port, ca=ca)

    assert outcome == Outcome(0, f"hooks.example:{port}: no valid HTTP answer.", is_rejected=True)
