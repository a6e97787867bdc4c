"""
Sends webhooks: one POST a message, signed by Standard Webhooks.

The connection goes to a checked address; the certificate is verified against the name in the URL. Redirects are not followed,
proxies in the environment are not used, and the body of a response is not kept.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2

import lyftdata
from lyftdata.core.event_destinations import Endpoint, endpoint_of
from lyftdata.core.secret import Secret
from lyftdata.core.standard_webhooks import signed_headers
from lyftdata.server.clock import Clock
from lyftdata.server.delivery.addresses import AllowedAddresses
from lyftdata.server.delivery.messages import DeliveryError, Destination, Message, Outcome
from lyftdata.server.delivery.tls import TlsContexts

_ANSWER_WITHIN_S = 15.0
# Progress is recorded at least this often.
_BATCH_WITHIN_S = 5.0
_MAX_ANSWER_BYTES = 65_536
_SUCCESS = range(200, 300)
# Said by a receiver, or by what is in front of it, that takes nothing at the moment: of the message they say nothing.
_BUSY = frozenset({429, 503})
_SECONDS = re.compile("[0-9]{1,6}")


class WebhookSender:
    """
    Sends messages as webhooks.

    Args:
        addresses: Decides which addresses it may connect to.
        contexts: TLS contexts.
        clock: Aware UTC time, part of the signature.
    """

    def __init__(self, *, addresses: AllowedAddresses, contexts: TlsContexts, clock: Clock) -> None:
        self._addresses = addresses
        self._contexts = contexts
        self._clock = clock

    async def send(self, destination: Destination, messages: Sequence[Message]) -> Outcome:
        """Send messages, one after the other, for some seconds; see `Sender.send`."""
        endpoint = endpoint_of(destination.url)
        delivered = 0
        try:
            addresses = await self._addresses.find(endpoint)
            context = await self._contexts.get(destination.ca) if endpoint.is_encrypted else None
            deadline_s = time.monotonic() + _BATCH_WITHIN_S
            async with _client(context) as http:
                post = _Post(http, destination, endpoint, addresses)
                for message in messages:
                    await post.send(message, self._headers(destination, message))
                    delivered += 1
                    if time.monotonic() > deadline_s:
                        break
        except DeliveryError as error:
            return Outcome(delivered, str(error), error.retry_after_s, error.is_rejected)
        return Outcome(delivered)

    def _headers(self, destination: Destination, message: Message) -> dict[str, str]:
        secrets = [Secret(secret) for secret in destination.secrets]
        signed = signed_headers(message.body, message_id=message.id, at=self._clock(), secrets=secrets)
        return {"Content-Type": "application/json"} | signed


def _client(context: ssl.SSLContext | None) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        # Plain http has no certificate to verify; `AllowedAddresses` decides where it may go.
        verify=context or False,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(_ANSWER_WITHIN_S),
        headers={
            "User-Agent": f"lyftdata-server/{lyftdata.__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        },
    )


class _Post:
    """Posts to one URL, at the first address that answers."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        destination: Destination,
        endpoint: Endpoint,
        addresses: Sequence[str],
    ) -> None:
        self._http = http
        self._url = destination.url
        self._endpoint = endpoint
        self._addresses = list(addresses)
        self._has_begun = False

    async def send(self, message: Message, headers: dict[str, str]) -> None:
        """Post a message; raises DeliveryError unless it was accepted."""
        self._has_begun = False
        while True:
            try:
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await self._post(message, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if len(self._addresses) == 1:
                    raise self._failed(error) from error
                # Try the next address: nothing was sent.
                self._addresses.pop(0)
            except (httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, OSError) as error:
                raise self._failed(error) from error
            else:
                return

    async def _post(self, message: Message, headers: dict[str, str]) -> None:
        parts = urlsplit(self._url)
        address = self._addresses[0]
        host = f"[{address}]" if ":" in address else address
        url = parts._replace(netloc=f"{host}:{self._endpoint.port}").geturl()
        async with self._http.stream(
            "POST",
            url,
            content=message.body,
            headers=headers | {"Host": parts.netloc},
            extensions={"sni_hostname": self._endpoint.host, "trace": self._trace},
        ) as response:
            if response.status_code not in _SUCCESS:
                raise DeliveryError(
                    f"{self._endpoint.text} answered {response.status_code}.",
                    retry_after_s=_retry_after_s(response),
                    is_rejected=response.status_code not in _BUSY,
                )
            await _drain(response)

    async def _trace(self, event: str, _info: dict[str, Any]) -> None:
        """Note that the message is on its way: a receiver that fails from then on may fail because of it."""
        if event.endswith(".send_request_headers.started"):
            self._has_begun = True

    def _failed(self, error: Exception) -> DeliveryError:
        return DeliveryError(f"{self._endpoint.text}: {_describe(error)}.", is_rejected=self._has_begun)


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx2.RemoteProtocolError):
        # Server-side request forgery: the library's text quotes the response of whatever program listens there.
        return "no valid HTTP answer"
    return str(error) or type(error).__name__


async def _drain(response: httpx2.Response) -> None:
    """Read the rest of a response, so that the connection can be reused; a long one closes the connection instead."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _MAX_ANSWER_BYTES:
            return


def _retry_after_s(response: httpx2.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if _SECONDS.fullmatch(value) else None
