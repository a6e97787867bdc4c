"""Limits the body size of the admin API: FastAPI reads a whole body before it authenticates the caller."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lyftdata.server.http.problems import problem

MAX_ADMIN_BODY_BYTES = 65_536
_BODY_WITHIN_S = 10.0


class BodyLimit:
    """ASGI middleware that reads the body first: 413 if it exceeds 64 KiB, whether announced or not, 408 after ten seconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                first = await _read_whole(receive)
        except TimeoutError:
            await problem(408, "body_too_slow", "The body took too long to arrive.")(scope, receive, send)
            return
        if first is None:
            detail = f"The body is larger than {MAX_ADMIN_BODY_BYTES} bytes."
            await problem(413, "body_too_large", detail)(scope, receive, send)
            return
        pending = [first]

        async def replayed() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replayed, send)


async def _read_whole(receive: Receive) -> Message | None:
    """Return the body as one message, or None if it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > MAX_ADMIN_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return {"type": "http.request", "body": bytes(body), "more_body": False}
