"""
Servers that only answer 204, on uvicorn with the Server's protocol and settings.

    python empty_204.py PORT starlette|asgi

`starlette` is a route of Starlette; `asgi` uses no framework.
"""

import asyncio
import sys

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lyftdata.server.http.protocol import BoundedHttpProtocol


async def _nothing(_request: Request) -> Response:
    return Response(status_code=204)


async def _asgi(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve until stopped."""
    apps = {"starlette": Starlette(routes=[Route("/auth/verify", _nothing)]), "asgi": _asgi}
    config = uvicorn.Config(
        apps[sys.argv[2]],
        port=int(sys.argv[1]),
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin")],
        timeout_keep_alive=75,
        backlog=4096,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
