"""ASGI middleware that traces the requests with which Workers connect: tokens, enrollments, sessions."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lyftdata.server.runtime.tracing.spans import STATUS, begin_request, recorded

_ENTRY: Final = "/oauth2/register/"
_ROUTES: Final = {
    ("POST", path): path
    for path in (
        "/oauth2/token",
        "/oauth2/nonce",
        "/oauth2/register",
        "/oauth2/introspect",
        "/oauth2/revoke",
        "/api/worker/identity-key",
        "/api/worker/session",
    )
} | {(method, _ENTRY): f"{_ENTRY}{{worker_id}}" for method in ("GET", "PUT", "DELETE")}
"""The traced routes and their names. Nothing else is traced: paths and queries of pages contain what operators search for."""

_SERVER_ERROR = 500
_propagator = TraceContextTextMapPropagator()


class TracingMiddleware:
    """Passes a request on within its own span."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        route = _route_of(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        span = begin_request(self._tracer, scope["method"], route)
        if not span.is_recording():
            await self._app(scope, receive, send)
            return
        with recorded(span, caller=_caller_of(scope["headers"])):

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute(STATUS, message["status"])
                    if message["status"] >= _SERVER_ERROR:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._app(scope, receive, send_noted)


def _route_of(scope: Scope) -> str | None:
    if scope["type"] != "http":
        return None
    path = scope["path"]
    return _ROUTES.get((scope["method"], _ENTRY if path.startswith(_ENTRY) else path))


def _caller_of(headers: Sequence[tuple[bytes, bytes]]) -> SpanContext | None:
    """Return the caller's span context (W3C Trace Context), if there is exactly one and it is valid."""
    values = [value for name, value in headers if name == b"traceparent"]
    if len(values) != 1:
        return None
    # Without `tracestate`: its content is meant for others.
    carrier = {"traceparent": values[0].decode("latin-1")}
    found = get_current_span(_propagator.extract(carrier, context=Context())).get_span_context()
    return found if found.is_valid else None
