"""
gRPC server interceptors that admit only calls of Workers.

    server = grpc.server(pool, interceptors=[WorkerAuthInterceptor(WorkerVerifier(issuer, audience=…))])
    server = grpc.aio.server(interceptors=[AsyncWorkerAuthInterceptor(AsyncWorkerVerifier(issuer, audience=…))])

The token is in the metadata `authorization: Bearer …`. A method gets its caller from `current_worker()`. A call is
checked once, when it begins. A refused token is UNAUTHENTICATED, a missing scope PERMISSION_DENIED, "cannot check now"
UNAVAILABLE, a verifier that fails INTERNAL. Needs `grpcio`, which `lyftdata` does not install.
"""

import contextvars
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from lyftdata.verify._gate import AsyncTokenVerifier, AsyncWorkerGate, TokenVerifier, WorkerGate
from lyftdata.verify._requests import checked_methods, refusal_headers
from lyftdata.verify.errors import (
    CannotVerifyError,
    InsufficientScopeError,
    VerificationError,
    VerifierFailedError,
)
from lyftdata.verify.identity import WorkerIdentity

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # subscripted in the stubs only

_current: contextvars.ContextVar[WorkerIdentity | None] = contextvars.ContextVar(
    "lyftdata_worker", default=None
)


def current_worker() -> WorkerIdentity:
    """
    Return the Worker that makes the current call.

    Raises:
        LookupError: There is none: a public method, or code that runs outside of a call.
    """
    worker = _current.get()
    if worker is None:
        message = "no Worker makes this call: the method is public, or this is not a call"
        raise LookupError(message)
    return worker


class WorkerAuthInterceptor(grpc.ServerInterceptor):
    """
    Admits only Workers to the methods of a server that uses threads.

    Args:
        verifier: Checks the tokens: a `WorkerVerifier`, or a class of your own with its `verify`.
        public_methods: Need no token, for example `/grpc.health.v1.Health/Check`.
        scopes: What every Worker must be allowed to do.

    Raises:
        TypeError: The verifier is one for an event loop, or not a verifier.
        InvalidInputError: An invalid scope or public method.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        public_methods: Collection[str] = (),
        scopes: Collection[str] = (),
    ) -> None:
        self._gate = WorkerGate(verifier, scopes=scopes)
        self._public = checked_methods(public_methods)

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Handler | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Return the method with the check in front of it."""
        handler = continuation(handler_call_details)
        if handler is None or handler_call_details.method in self._public:
            return handler
        # Denial of service: the check runs in the pool's thread, with the method; here it would block every other call.
        guard = self._streaming if handler.response_streaming else self._unary
        return _replace_behaviour(handler, guard(_behaviour(handler)))

    def _unary(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            return self._context(context).run(behaviour, request, context)

        return guarded

    def _streaming(self, behaviour: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        def guarded(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            within = self._context(context)
            answers = within.run(iter, within.run(behaviour, request, context))
            end = object()
            while (answer := within.run(next, answers, end)) is not end:
                yield answer

        return guarded

    def _context(self, context: grpc.ServicerContext) -> contextvars.Context:
        """Return a context in which the call's Worker is the current one."""
        try:
            worker = self._gate.admit(_authorization(context.invocation_metadata()))
        except VerificationError as error:
            context.set_trailing_metadata(_trailers(error))
            context.abort(_status(error), error.public)
        within = contextvars.copy_context()
        within.run(_current.set, worker)
        return within


class AsyncWorkerAuthInterceptor(grpc.aio.ServerInterceptor):
    """
    Admits only Workers to the methods of a server on an event loop; its methods must be coroutines or async generators.

    Args:
        verifier: Checks the tokens: an `AsyncWorkerVerifier`, or a class of your own with its `verify`.
        public_methods: Need no token, for example `/grpc.health.v1.Health/Check`.
        scopes: What every Worker must be allowed to do.

    Raises:
        TypeError: The verifier is one for threads, or not a verifier.
        InvalidInputError: A scope or a public method that cannot be one.
    """

    def __init__(
        self,
        verifier: AsyncTokenVerifier,
        *,
        public_methods: Collection[str] = (),
        scopes: Collection[str] = (),
    ) -> None:
        self._gate = AsyncWorkerGate(verifier, scopes=scopes)
        self._public = checked_methods(public_methods)

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Return the method, or one of the same kind that refuses the call."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method in self._public:
            return handler
        try:
            worker = await self._gate.admit(_authorization(handler_call_details.invocation_metadata))
        except VerificationError as error:
            return _replace_behaviour(handler, _refusing(error, streaming=handler.response_streaming))
        # Identity mix-up: each call is a task of its own, in which the method runs after this; no other call sees this Worker.
        _current.set(worker)
        return handler


def _refusing(error: VerificationError, *, streaming: bool) -> Callable[..., Any]:
    async def refuse(_request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> NoReturn:
        await context.abort(_status(error), error.public, _trailers(error))

    async def refuse_stream(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        await refuse(request, context)
        yield  # type: ignore[unreachable]  # makes this a generator, as this kind of method must be

    return refuse_stream if streaming else refuse


def _authorization(metadata: Any) -> list[str]:
    found = [value for key, value in metadata or () if key.lower() == "authorization"]
    return [value if isinstance(value, str) else value.decode("latin-1") for value in found]


def _trailers(error: VerificationError) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in refusal_headers(error, "lyftdata").items())


def _status(error: VerificationError) -> grpc.StatusCode:
    if isinstance(error, VerifierFailedError):
        return grpc.StatusCode.INTERNAL
    if isinstance(error, CannotVerifyError):
        return grpc.StatusCode.UNAVAILABLE
    if isinstance(error, InsufficientScopeError):
        return grpc.StatusCode.PERMISSION_DENIED
    return grpc.StatusCode.UNAUTHENTICATED


def _behaviour(handler: "Handler") -> Callable[..., Any]:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    return next(behaviour for behaviour in kinds if behaviour is not None)


def _replace_behaviour(handler: "Handler", behaviour: Callable[..., Any]) -> "Handler":
    """Return a handler of the same kind (unary or streaming, either way) with another behaviour."""
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    made: Handler = make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return made
