"""A Server with tracing on, and a collector that receives its traces over HTTP."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from tests.processes import Site, end_started, until


class Collector:
    """A receiver of OTLP over HTTP."""

    def __init__(self):
        self.received: list[tuple[str, str, ExportTraceServiceRequest]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = ExportTraceServiceRequest.FromString(body)
                collector.received.append((self.path, self.headers["X-Tenant"], request))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format, *arguments):
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def names(self):
        """Return the names of the spans received."""
        groups = [group for _, _, request in self.received for group in request.resource_spans]
        return {span.name for group in groups for scope in group.scope_spans for span in scope.spans}

    def close(self):
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector():
    """Return a collector; the test's programs are stopped before it."""
    made = Collector()
    yield made
    end_started()
    made.close()


def test_a_collector_receives_the_servers_spans(tmp_path, collector):
    """The standard variables set the endpoint, headers and sampling; no key or token is in the spans."""
    site = Site(
        tmp_path,
        LYFTDATA_TRACING="yes",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="X-Tenant=press",
        OTEL_TRACES_SAMPLER="always_on",
        OTEL_BSP_SCHEDULE_DELAY="10",
    )
    operator = site.sign_in()
    key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    form = {"grant_type": "client_credentials", "client_id": "press-01", "client_secret": key}
    token = httpx2.post(f"{site.url}/oauth2/token", data=form, timeout=180).json()["access_token"]

    # The span of a request ends last.
    until(lambda: "POST /oauth2/token" in collector.names(), "the trace is there")
    assert site.server.terminate() == 0

    assert {(path, tenant) for path, tenant, _ in collector.received} == {("/v1/traces", "press")}
    groups = [group for _, _, request in collector.received for group in request.resource_spans]
    resource = {a.key: a.value.string_value for group in groups for a in group.resource.attributes}
    assert resource["service.name"] == "lyftdata-server"
    spans = [span for group in groups for scope in group.scope_spans for span in scope.spans]
    [request] = [span for span in spans if span.name == "POST /oauth2/token"]
    assert request.kind == request.SPAN_KIND_SERVER
    attributes = {a.key: a.value.string_value or a.value.int_value for a in request.attributes}
    assert attributes["lyftdata.worker.id"] == "press-01"
    assert attributes["http.response.status_code"] == 200
    assert {span.name for span in spans if span.parent_span_id == request.span_id} == {
        "check API key",
        "sign token",
    }
    sent = b"".join(request.SerializeToString() for _, _, request in collector.received)
    assert key.encode() not in sent
    assert token.encode() not in sent
    assert not site.server.events("traces_not_sent")


def test_a_server_works_without_its_collector_and_logs_that(tmp_path, collector):
    """Neither requests nor the stop wait for it, and the log has no traceback of the library."""
    collector.close()
    site = Site(
        tmp_path,
        LYFTDATA_TRACING="yes",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_TRACES_SAMPLER="always_on",
        OTEL_BSP_SCHEDULE_DELAY="10",
    )
    operator = site.sign_in()
    key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    form = {"grant_type": "client_credentials", "client_id": "press-01", "client_secret": key}
    for _ in range(20):
        assert httpx2.post(f"{site.url}/oauth2/token", data=form, timeout=180).status_code == 200
    site.server.wait_for("traces_not_sent")

    assert site.server.terminate() == 0

    assert "Traceback" not in site.server.log
    assert key not in site.server.log
