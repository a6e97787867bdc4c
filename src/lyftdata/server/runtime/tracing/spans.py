"""
The spans of a request, and what they may contain.

Secret disclosure: an allowlist of attributes, each a code, a number or one of the Server's own identifiers. Data from unproven callers is
not included: otherwise an API key that was sent as a Worker ID would reach the collector.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    use_span,
)

from lyftdata.core.refusals import RefusedError

WORKER_ID: Final = "lyftdata.worker.id"
REFUSAL_CODE: Final = "lyftdata.refusal.code"
REFUSAL_REFERENCE: Final = "lyftdata.refusal.reference"
CREATED: Final = "lyftdata.enrollment.created"
POLL_OUTCOME: Final = "lyftdata.poll.outcome"
SESSION_END: Final = "lyftdata.session.end"
SESSION_DURATION: Final = "lyftdata.session.duration"
ERROR_TYPE: Final = "error.type"
METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
DATABASE: Final = "db.system.name"

ATTRIBUTES: Final = frozenset(
    {
        WORKER_ID,
        REFUSAL_CODE,
        REFUSAL_REFERENCE,
        CREATED,
        POLL_OUTCOME,
        SESSION_END,
        SESSION_DURATION,
        ERROR_TYPE,
        METHOD,
        ROUTE,
        STATUS,
        DATABASE,
    }
)
"""Every attribute that a span of the Server can have."""


class TracedRequest:
    """
    A request whose span is recorded.

    Args:
        span: Its span, the parent of all others of the request.
        caller: The span context of the caller's own trace.
    """

    __slots__ = ("_caller", "span")

    def __init__(self, span: Span, caller: SpanContext | None) -> None:
        self.span = span
        self._caller = caller

    def worker_proved(self, worker_id: str) -> None:
        """Record the Worker; only now that it is proved is the caller's own trace linked."""
        self.span.set_attribute(WORKER_ID, worker_id)
        if self._caller is not None:
            self.span.add_link(self._caller)
            self._caller = None


_current: ContextVar[TracedRequest | None] = ContextVar("traced_request", default=None)


def current_request() -> TracedRequest | None:
    """Return the current request, if its span is recorded."""
    return _current.get()


def begin_request(tracer: Tracer, method: str, route: str) -> Span:
    """
    Begin a trace of the Server's own, with the span of a request.

    It does not depend on what the caller sent, which must not decide which traces are kept, or to what they belong.

    Args:
        tracer: Creates the span.
        method: HTTP method.
        route: Its path, with placeholders for what varies between requests.
    """
    return tracer.start_span(
        f"{method} {route}",
        context=Context(),
        kind=SpanKind.SERVER,
        attributes={METHOD: method, ROUTE: route},
    )


@contextlib.contextmanager
def recorded(span: Span, *, caller: SpanContext | None) -> Iterator[None]:
    """
    Record what happens in the block as children of a request's span, which ends with the block.

    Args:
        span: From `begin_request`; it must be recorded.
        caller: The caller's span context.
    """
    token = _current.set(TracedRequest(span, caller))
    try:
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                _failed(span, error)
                raise
    finally:
        _current.reset(token)


@contextlib.contextmanager
def part_of_request(
    tracer: Tracer, name: str, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: str
) -> Iterator[Span]:
    """
    Record a part of the current request; do nothing if there is none, or it is not recorded.

    The Server's own work starts no trace: writing its own records would be one every second.
    """
    if not get_current_span().is_recording():
        yield INVALID_SPAN
        return
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            _failed(span, error)
            raise


def _failed(span: Span, error: BaseException) -> None:
    """
    Record the type of the error.

    Secret disclosure: neither its text nor its traceback, since both may contain what a caller sent. A refusal does not count as a failure.
    """
    if isinstance(error, RefusedError):
        span.set_attribute(REFUSAL_CODE, error.code)
        return
    span.set_attribute(ERROR_TYPE, type(error).__name__)
    span.set_status(StatusCode.ERROR)
