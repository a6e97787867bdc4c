"""
The spans of one request, and what they may say.

Secret disclosure: an allowlist of attributes, each a code, a number or an identifier of the Server's own. What an unproven caller sent is
not among them: an API key that somebody has sent as a Worker ID would otherwise get to the collector.
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
        span: Its span, which all others of the request are below.
        caller: Where the caller says that it is in a trace of its own.
    """

    __slots__ = ("_caller", "span")

    def __init__(self, span: Span, caller: SpanContext | None) -> None:
        self.span = span
        self._caller = caller

    def worker_proved(self, worker_id: str) -> None:
        """Note whose request it is; only now is the caller's own trace linked."""
        self.span.set_attribute(WORKER_ID, worker_id)
        if self._caller is not None:
            self.span.add_link(self._caller)
            self._caller = None


_current: ContextVar[TracedRequest | None] = ContextVar("traced_request", default=None)


def current_request() -> TracedRequest | None:
    """Return the request that is being answered, if its span is recorded."""
    return _current.get()


def begin_request(tracer: Tracer, method: str, route: str) -> Span:
    """
    Begin a trace of the Server's own with the span of a request.

    Whatever the caller sent: which traces are kept, and to what they belong, is not for it to say.

    Args:
        tracer: Makes it.
        method: HTTP method.
        route: Its path, with names for what is different in each request.
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
    Record what happens in the block below the span of a request, which ends with it.

    Args:
        span: As `begin_request` gave it; it is to be recorded.
        caller: Where the caller says that it is.
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
    Record a part of the request that is being answered; nothing if there is none, or it is not recorded.

    What the Server does by itself begins no trace: writing its own records would be one every second.
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
    Note what kind of error it was.

    Secret disclosure: neither its text nor its traceback, either of which may hold what a caller sent. A refusal is no failure.
    """
    if isinstance(error, RefusedError):
        span.set_attribute(REFUSAL_CODE, error.code)
        return
    span.set_attribute(ERROR_TYPE, type(error).__name__)
    span.set_status(StatusCode.ERROR)
