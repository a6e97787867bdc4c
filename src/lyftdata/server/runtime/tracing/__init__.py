"""
Traces for an OpenTelemetry collector, with the extra `otel`: what a token, an enrollment and a poll spend their time on.

Nothing here is imported unless LYFTDATA_TRACING is on. The Server's parts know nothing about tracing: if it is on, they are instances
of subclasses (`parts`) behind an additional middleware (`requests`), so that without it no request does more than before.

A span may only contain `spans.ATTRIBUTES`; no exception, query, header or body is read for it. A caller's `traceparent` decides nothing
(docs/decisions/0054).
"""

import socket
import threading
import uuid
from collections.abc import Mapping
from typing import Final

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from starlette.types import ASGIApp

import lyftdata
from lyftdata.server.runtime.tracing.parts import traced_parts
from lyftdata.server.runtime.tracing.problems import ProblemsOfTheLibrary
from lyftdata.server.runtime.tracing.requests import TracingMiddleware

SAMPLED_UNLESS_TOLD: Final = 0.1
"""The share of requests recorded if OTEL_TRACES_SAMPLER is not set; the specification's default is all of them."""
CLOSED_WITHIN_S: Final = 5.0


class Tracing:
    """
    Records the requests of one Server until it is closed.

    Nothing waits for the collector: spans queue up to OTEL_BSP_MAX_QUEUE_SIZE (2,048), further ones are dropped, and a separate
    thread sends them.

    Args:
        exporter: Sends spans to a collector.
        environ: OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES; the SDK reads the others itself.
    """

    def __init__(self, exporter: SpanExporter, environ: Mapping[str, str]) -> None:
        self._problems = ProblemsOfTheLibrary()
        self._problems.begin()
        self._provider = TracerProvider(
            # None: from OTEL_TRACES_SAMPLER.
            sampler=None
            if environ.get("OTEL_TRACES_SAMPLER")
            else ParentBasedTraceIdRatio(SAMPLED_UNLESS_TOLD),
            resource=_resource(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lyftdata.server", lyftdata.__version__)
        self.parts = traced_parts(self._tracer)
        """The classes from which to build the Server."""

    def trace_requests(self, app: ASGIApp) -> ASGIApp:
        """Return an application whose requests are recorded."""
        return TracingMiddleware(app, self._tracer)

    def flush(self) -> None:
        """Send what is queued; waits for the collector."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what is queued, for as long as a stopping Server may wait; the rest is dropped."""
        ending = threading.Thread(target=self._provider.shutdown, name="tracing-shutdown", daemon=True)
        ending.start()
        ending.join(CLOSED_WITHIN_S)
        if not ending.is_alive():
            self._problems.end()


def start_tracing(environ: Mapping[str, str]) -> Tracing:
    """Start tracing to the collector that the standard variables name (OTEL_EXPORTER_OTLP_ENDPOINT and others), by OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # Secret disclosure: it logs a header that it cannot parse in full, including the collector's token.
    problems = ProblemsOfTheLibrary()
    problems.begin()
    try:
        exporter = OTLPSpanExporter()
    finally:
        problems.end()
    return Tracing(exporter, environ)


def _resource() -> Resource:
    """Return the attributes of this program; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    of_program = {
        "service.name": "lyftdata-server",
        "service.version": lyftdata.__version__,
        "service.instance.id": str(uuid.uuid4()),
        "host.name": socket.gethostname(),
    }
    return Resource.create({**of_program, **OTELResourceDetector().detect().attributes})
