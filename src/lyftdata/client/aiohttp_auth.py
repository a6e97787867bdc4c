"""
Authenticates requests of `aiohttp` with a worker token, as a client middleware (aiohttp 3.12 or newer).

    auth = AiohttpWorkerAuth.from_environment(origins=["https://service.example.com"])
    async with aiohttp.ClientSession(middlewares=[auth]) as http:
        await http.get("https://service.example.com/jobs")

Needs `aiohttp`, which `lyftdata` does not install.
"""

import contextvars
from collections.abc import Collection
from http import HTTPStatus

import aiohttp
import yarl

from lyftdata.client.auth import BaseAuth
from lyftdata.client.token_keeper import TokenKeeper
from lyftdata.core.origins import origin_of

__all__ = ["AiohttpWorkerAuth"]

_HTTP_SCHEMES = {"ws": "http", "wss": "https"}
_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


class AiohttpWorkerAuth(BaseAuth):
    """
    Sends a worker token with each request and websocket of an `aiohttp.ClientSession`.

        auth = AiohttpWorkerAuth.from_environment(origins=["https://service.example.com"])
        aiohttp.ClientSession(middlewares=[auth])

    Args:
        tokens: The source of the tokens; may be shared with other auths.
        origins: The services that may get them: scheme, host and port, for example `https://service.example.com`, which
            allows `wss://service.example.com` too.
        allow_http: Allow plain http to a service on another machine: anyone who listens on the network then gets the token.

    Raises:
        InvalidInputError: No origin, or an invalid one.
    """

    def __init__(self, tokens: TokenKeeper, *, origins: Collection[str], allow_http: bool = False) -> None:
        super().__init__(tokens, origins=origins, allow_http=allow_http)
        # aiohttp calls a middleware for each step of a redirect chain, in the caller's task, and does not say which step this is:
        # the origin that the previous step led to is kept here, for the next step only.
        self._led_to: contextvars.ContextVar[str | None] = contextvars.ContextVar("led_to", default=None)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send with a token; on 401 retry once with a new one. After a redirect to another origin, send without a token."""
        url = _http_url(request.url)
        led_to = self._led_to.get()
        self._led_to.set(None)
        if led_to == origin_of(url) and url not in self._origins:
            response = await handler(request)
        else:
            self._origins.check(url)
            response = await self._send(request, handler)
        self._led_to.set(_redirect_origin(response))
        return response

    async def _send(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = await self.tokens.aget()
        request.headers["Authorization"] = f"Bearer {token}"
        response = await handler(request)
        if response.status != HTTPStatus.UNAUTHORIZED or not _is_repeatable(request):
            return response
        another = await self.tokens.aget_another(token)
        if another is None:
            return response
        response.release()
        request.headers["Authorization"] = f"Bearer {another}"
        return await handler(request)


def _http_url(url: yarl.URL) -> str:
    """Return a websocket's URL as http(s): it is the same service (RFC 6455, section 3)."""
    return str(url.with_scheme(_HTTP_SCHEMES[url.scheme]) if url.scheme in _HTTP_SCHEMES else url)


def _redirect_origin(response: aiohttp.ClientResponse) -> str | None:
    """Return the origin that a redirect leads to."""
    location = response.headers.get("Location") or response.headers.get("URI")
    if response.status not in _REDIRECTS or not location:
        return None
    try:
        return origin_of(_http_url(response.url.join(yarl.URL(location))))
    except ValueError:
        return None  # aiohttp does not follow it either


def _is_repeatable(request: aiohttp.ClientRequest) -> bool:
    """Return whether a body can be sent again; a body from a stream has been consumed."""
    return not request.body or not getattr(request.body, "consumed", True)
