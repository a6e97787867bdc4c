"""
A gRPC channel whose calls carry a worker token, for tests.

    with worker_channel(f"127.0.0.1:{port}", token=server.token("press-01")) as channel:
        JobsStub(channel).List(ListRequest())

Needs `grpcio`, which `lyftdata` does not install by itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc


def worker_channel(target: str, *, token: str) -> grpc.Channel:
    """
    Return a channel without TLS; close it, or use it with `with`.

    Args:
        target: The server, for example `127.0.0.1:50051`.
        token: Sent with each call.
    """
    return grpc.intercept_channel(grpc.insecure_channel(target), _WithToken(token))


class _Details(NamedTuple):
    method: Any
    timeout: Any
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _WithToken(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, token: str) -> None:
        self._entry = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request_iterator)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._with_token(client_call_details), request_iterator)

    def _with_token(self, details: Any) -> _Details:
        metadata = [*(details.metadata or ()), self._entry]
        return _Details(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
