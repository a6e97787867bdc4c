"""What a trace shows of tokens, enrollments and polls, what it never shows, and that an unavailable collector affects nothing."""

import asyncio
import json
import logging
import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.builders import ENROLLMENT_KEY
from tests.deployment import ASSERTION_TYPE

from lyftdata.app import _App, create_app
from lyftdata.core.errors import SettingsError
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.admission.token_issuer import Admission
from lyftdata.server.api.admin.app import admin_app
from lyftdata.server.runtime import tracing as module
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.trace_switch import traced
from lyftdata.server.runtime.tracing import Tracing
from lyftdata.server.runtime.tracing.spans import ATTRIBUTES
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store

# A caller's trace context, with the flag that asks for recording.
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traced:
    """A Server with tracing, and the spans that it has exported."""

    def __init__(self, server, tracing, exporter):
        self.server = server
        self.tracing = tracing
        self._exporter = exporter

    def spans(self):
        """Return every span so far, in the order in which they ended."""
        self.tracing.flush()
        return self._exporter.get_finished_spans()

    def named(self, name):
        """Return the spans with a name."""
        return [span for span in self.spans() if span.name == name]

    def one(self, name):
        """Return the only span with a name."""
        [span] = self.named(name)
        return span

    def below(self, parent):
        """Return the names of a span's direct children."""
        return sorted(
            span.name
            for span in self.spans()
            if span.parent is not None and span.parent.span_id == parent.context.span_id
        )


@pytest.fixture
async def open_traced(opened, monkeypatch, request):
    """Return a Server with tracing, which records every request unless the test says otherwise."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", getattr(request, "param", "always_on"))
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, {"OTEL_TRACES_SAMPLER": "by the environment"})
    async with opened(tracing=tracing) as server:
        yield Traced(server, tracing, exporter)
    tracing.close()


async def add_press(server):
    """Add a Worker with its own API key; return its ID and key."""
    admin = await server.sign_in()
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    answer = await server.http.post("/api/workers", json=body, headers=admin)
    return "press-01", answer.json()["api_key"]["key"]


async def poll(server, token, **more):
    """Poll once."""
    body = {"boot_id": "boot-0001", "host": {"hostname": "host-a"}} | more
    return await server.http.post(
        "/api/worker/session", json=body, headers={"Authorization": f"Bearer {token}"}
    )


async def test_a_token_request_by_api_key_is_traced(open_traced):
    """The request with its Worker and status, and below it checking the key and signing the token."""
    server = open_traced.server
    answer = await server.token_by_key(*await add_press(server))

    assert answer.status_code == 200
    span = open_traced.one("POST /oauth2/token")
    assert (span.kind, span.parent, span.status.status_code) == (SpanKind.SERVER, None, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/oauth2/token",
        "http.response.status_code": 200,
        "lyftdata.worker.id": "press-01",
    }
    assert open_traced.below(span) == ["check API key", "sign token"]


async def test_an_enrollment_and_a_token_request_by_assertion_are_traced(open_traced):
    """An enrollment waits for the database; a token request by assertion does not."""
    server = open_traced.server
    worker_id, key = await server.enrolled("press")
    assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200

    request = open_traced.one("POST /oauth2/register")
    assert request.attributes["lyftdata.worker.id"] == worker_id
    enrollment = open_traced.one("enroll")
    assert enrollment.attributes["lyftdata.enrollment.created"] is True
    assert open_traced.below(enrollment) == ["database write"]
    [write] = [
        s for s in open_traced.named("database write") if s.parent.span_id == enrollment.context.span_id
    ]
    assert (write.kind, dict(write.attributes)) == (SpanKind.CLIENT, {"db.system.name": "sqlite"})
    assert "check assertion" in open_traced.below(open_traced.one("POST /oauth2/token"))


async def test_an_operation_in_the_writers_thread_is_part_of_its_request(open_traced):
    """The rest of the write span above it is the time that it waited in the queue."""
    server = open_traced.server
    entry = (await server.register(generate_identity_key(), "press", credential=ENROLLMENT_KEY)).json()
    worker_id = entry["client_id"]
    headers = {"Authorization": f"Bearer {entry['registration_access_token']}"}
    retired = await server.http.delete(f"/oauth2/register/{worker_id}", headers=headers)

    assert retired.status_code == 204
    request = open_traced.one("DELETE /oauth2/register/{worker_id}")
    assert request.attributes["http.route"] == "/oauth2/register/{worker_id}"
    operations = open_traced.named("database operation")
    writes = {span.context.span_id for span in open_traced.named("database write")}
    assert request.context.trace_id in {span.context.trace_id for span in operations}
    assert {span.parent.span_id for span in operations} <= writes


async def test_a_session_is_traced_from_its_first_poll_to_its_end(open_traced):
    """How a held poll ended, and in a separate trace how long the Worker was connected and why the session ended."""
    server = open_traced.server
    token = (await server.token_by_key(*await add_press(server))).json()["access_token"]
    assert (await poll(server, token)).status_code == 200
    held = asyncio.ensure_future(poll(server, token))
    async with asyncio.timeout(180):
        while not any(session.poll is not None for session in server.services.sessions):
            await asyncio.sleep(0)
    server.services.sessions.ask_to_poll_again("press-01")
    assert (await held).status_code == 200
    server.clock.forward(seconds=5)
    assert (await poll(server, token, sign_off=True)).status_code == 200

    first = open_traced.named("POST /api/worker/session")[0]
    assert first.attributes["lyftdata.worker.id"] == "press-01"
    assert open_traced.below(first) == ["session started"]
    assert open_traced.one("hold poll").attributes["lyftdata.poll.outcome"] == "held"
    ended = open_traced.one("session ended")
    assert ended.parent is None
    assert dict(ended.attributes) == {
        "lyftdata.worker.id": "press-01",
        "lyftdata.session.end": "signed_off",
        "lyftdata.session.duration": 5.0,
    }


async def test_a_refusal_is_traced_with_its_code_and_reference(open_traced):
    """Operators find the rest by the reference. The Worker that an unproven caller claims to be is not in the trace."""
    server = open_traced.server
    worker_id, key = await add_press(server)
    answer = await server.token_by_key("nobody", key)

    assert answer.status_code == 401
    span = open_traced.one("POST /oauth2/token")
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/oauth2/token",
        "http.response.status_code": 401,
        "lyftdata.refusal.code": "api_key_not_for_worker",
        "lyftdata.refusal.reference": answer.json()["reference"],
    }
    assert open_traced.one("check API key").attributes["lyftdata.refusal.code"] == "api_key_not_for_worker"
    assert worker_id not in json.dumps([span.to_json() for span in open_traced.spans()])


async def test_a_refused_worker_that_has_proved_its_key_is_named(open_traced):
    """As it also gets the cause in its answer."""
    server = open_traced.server
    worker_id, key = await add_press(server)
    answer = await server.token_by_key(worker_id, key, scope="nothing")

    assert answer.status_code == 400
    span = open_traced.one("POST /oauth2/token")
    assert span.attributes["lyftdata.worker.id"] == worker_id
    assert span.attributes["lyftdata.refusal.code"] == "scope_unknown"


async def test_a_failure_is_traced_with_its_type_and_without_its_text(open_traced, monkeypatch):
    """An exception's text and traceback may contain what a caller sent."""
    server = open_traced.server
    press = await add_press(server)

    def fail(*_arguments, **_named):
        raise RuntimeError("token eyJhbGciOiJub25lIn0")

    monkeypatch.setattr(server.services.token_counts, "token_given", fail)
    answer = await server.token_by_key(*press)

    assert answer.status_code == 500
    span = open_traced.one("POST /oauth2/token")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes["error.type"], span.status.description, span.events) == ("RuntimeError", None, ())


async def test_nothing_that_a_caller_sends_is_in_a_trace(open_traced):
    """No key, token, assertion, proof, query, path or header, wherever it was sent, and no attribute that is not allowed."""
    server = open_traced.server
    worker_id, key = await add_press(server)
    identity = generate_identity_key()
    enrolled = await server.register(identity, "press")
    assertion = server.assertion(identity, enrolled.json()["client_id"])
    token = (await server.token_by_assertion(assertion)).json()["access_token"]
    proof = server.proof(generate_identity_key(), "other")
    canary = "canary-7f3b9e"
    headers = {
        "Authorization": f"Bearer {token}",
        "X-Note": canary,
        "baggage": f"a={canary}",
        "tracestate": f"a={canary}",
    }
    for path in (
        "/oauth2/token",
        "/oauth2/register",
        "/oauth2/introspect",
        "/oauth2/revoke",
        f"/oauth2/register/{canary}",
    ):
        for method in ("GET", "POST", "PUT", "DELETE"):
            await server.http.request(method, f"{path}?{canary}={key}", headers=headers, content=canary)
    await server.token_by_key(key, canary)
    await server.token_by_key(worker_id, f"{key}x")
    await server.token_by_key(worker_id, key, scope=canary, resource=f"https://{canary}")
    await server.token_by_assertion(f"{assertion}{canary}")
    await server.http.post(
        "/oauth2/token",
        data={
            "grant_type": canary,
            "client_id": canary,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": token,
        },
    )
    await server.http.post(
        "/oauth2/register", json={"client_name": canary}, headers={"Authorization": f"Bearer {proof}"}
    )
    await server.http.post(
        "/oauth2/register",
        json={"client_name": canary},
        headers={"Authorization": f"Bearer {ENROLLMENT_KEY}"},
    )
    await poll(server, token, host={"hostname": canary}, labels=f"a={canary}")
    await poll(server, f"{token}{canary}")

    spans = open_traced.spans()
    assert len(spans) > 20
    assert {name for span in spans for name in span.attributes} <= ATTRIBUTES
    assert not any(span.events or span.links for span in spans)
    text = "\n".join(span.to_json() for span in spans)
    secrets = (canary, key, key[-20:], token, token[-20:], assertion[-20:], proof[-20:], ENROLLMENT_KEY)
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("open_traced", ["always_off"], indirect=True)
async def test_no_caller_chooses_what_is_recorded(open_traced):
    """A `traceparent` that asks for recording has no effect, even with a valid key."""
    server = open_traced.server
    worker_id, key = await add_press(server)
    server.http.headers["traceparent"] = CALLER
    assert (await server.token_by_key(worker_id, key)).status_code == 200
    assert (await server.token_by_key("nobody", key)).status_code == 401

    assert open_traced.spans() == ()


async def test_only_the_trace_of_a_proved_caller_is_linked(open_traced):
    """Each trace is the Server's own; the trace context of an unproven caller is dropped."""
    server = open_traced.server
    worker_id, key = await add_press(server)
    server.http.headers["traceparent"] = CALLER
    await server.token_by_key(worker_id, key)
    await server.token_by_key(worker_id, f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}")
    server.http.headers["traceparent"] = f"{CALLER}, {CALLER}"
    await server.token_by_key(worker_id, key)

    proved, refused, malformed = open_traced.named("POST /oauth2/token")
    assert [f"{link.context.trace_id:032x}" for link in proved.links] == [CALLER.split("-")[1]]
    assert refused.links == malformed.links == ()
    assert all(span.parent is None for span in (proved, refused, malformed))
    assert CALLER.split("-")[1] not in {f"{span.context.trace_id:032x}" for span in open_traced.spans()}


async def test_other_requests_and_background_work_are_not_traced(open_traced):
    """Paths and queries of pages contain what operators search for; traces of background writes would only be noise."""
    server = open_traced.server
    await add_press(server)
    for path in ("/readyz", "/workers?q=press", "/api/workers", "/auth/verify", "/nothing"):
        await server.http.get(path)
    await server.services.refusals.flush()

    assert open_traced.spans() == ()


async def test_without_tracing_a_server_has_no_wrappers(server):
    """It has the plain classes and no middleware, so tracing that is off costs nothing."""
    services = server.services
    parts = (services.store, services.admission, services.enrollment, services.refusals, services.sessions)

    assert [type(part) for part in parts] == [Store, Admission, Enrollment, RefusalLog, Sessions]
    assert type(create_app(services)) is _App


def test_fastapi_traces_nothing_by_itself():
    """Its own telemetry would export exception messages and paths of the admin API if the process has a tracer configured."""
    telemetry = getattr(admin_app(None), "_telemetry", {})

    assert not any(
        telemetry.get(kind) for kind in ("tracing", "metrics", "logs", "operation_spans", "auto_configure")
    )


def test_without_tracing_the_opentelemetry_sdk_is_not_loaded():
    """Nor are the exporters and our tracing package."""
    # FastAPI imports the API, which does nothing without the SDK.
    code = (
        "import sys, lyftdata.serving; "
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'lyftdata.server.runtime.tracing'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


async def test_tracing_without_the_extra_is_a_settings_error(monkeypatch):
    """The message names the extra instead of a traceback. With tracing off, nothing is needed."""
    for name in [name for name in sys.modules if name.startswith("lyftdata.server.runtime.tracing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    async with traced(read_server_settings({})) as tracing:
        assert tracing is None

    with pytest.raises(SettingsError) as refused:
        async with traced(read_server_settings({"LYFTDATA_TRACING": "yes"})):
            raise AssertionError

    [problem] = refused.value.problems
    assert problem.startswith("LYFTDATA_TRACING: ")
    assert "otel" in problem


class Stuck(SpanExporter):
    """A collector that accepts spans and does not answer until it is released."""

    def __init__(self):
        self.asked = threading.Event()
        self.released = threading.Event()
        self.sent = 0

    def export(self, spans):
        """Wait until released."""
        self.sent += len(spans)
        self.asked.set()
        self.released.wait()
        return SpanExportResult.SUCCESS


async def test_a_hanging_collector_delays_no_request(opened, monkeypatch):
    """Spans that do not fit into the queue are dropped, and the Server stops while the collector still hangs."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    monkeypatch.setattr(module, "CLOSED_WITHIN_S", 0.1)
    collector = Stuck()
    tracing = Tracing(collector, {"OTEL_TRACES_SAMPLER": "always_on"})
    try:
        async with opened(tracing=tracing) as server:
            press = await add_press(server)
            for _ in range(20):
                assert (await server.token_by_key(*press)).status_code == 200
            assert await asyncio.to_thread(collector.asked.wait, 180)
        await asyncio.to_thread(tracing.close)
        assert not collector.released.is_set()
        # Of 60 spans: one batch that it is exporting, and at most a full queue.
        assert collector.sent <= 12
    finally:
        collector.released.set()
        # A real Server's process would end here.
        tracing._problems.end()


def test_errors_of_the_tracing_library_are_one_event_without_values(monkeypatch, capsys):
    """Not a line every second, nor a URL with a token in its query, nor the collector's answer."""
    logged = []
    monkeypatch.setattr(
        "lyftdata.server.runtime.tracing.problems.FailureLog.failed",
        lambda _self, **fields: logged.append(fields),
    )
    tracing = Tracing(InMemorySpanExporter(), {})
    log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    log.error("Failed to export %s batch code: %s, reason: %s", "spans", 403, "https://c/?key=canary-7f3b9e")
    tracing.close()
    log.propagate = False
    log.error("Not ours any more")

    assert logged == [{"problem": "Failed to export … batch code: …, reason: …"}]
    assert "canary" not in capsys.readouterr().err


def test_the_collectors_url_is_not_logged_at_any_level(monkeypatch, caplog):
    """It may have a token in its query, and the HTTP library logs every URL."""
    logged = []
    monkeypatch.setattr(
        "lyftdata.server.runtime.tracing.problems.FailureLog.failed",
        lambda _self, **fields: logged.append(fields),
    )
    caplog.set_level(logging.DEBUG)
    tracing = Tracing(InMemorySpanExporter(), {})
    log = logging.getLogger("urllib3.connectionpool")
    log.debug('%s://%s:%s "%s %s %s" %s %s', "https", "c", 443, "POST", "/?key=canary-7f3b9e", "1.1", 200, 0)
    log.warning("Failed to parse headers (url=%s): %s", "https://c/?key=canary-7f3b9e", "?")
    tracing.close()

    assert logged == [{"problem": "Failed to parse headers (url=…): …"}]
    assert "canary" not in caplog.text


def test_a_malformed_collector_header_is_not_logged(monkeypatch, caplog):
    """If it is written with a colon, as in HTTP, the library reports it, but it still contains a secret."""
    logged = []
    monkeypatch.setattr(
        "lyftdata.server.runtime.tracing.problems.FailureLog.failed",
        lambda _self, **fields: logged.append(fields),
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Bearer canary-7f3b9e")
    module.start_tracing({}).close()

    [complaint] = logged
    assert complaint["problem"].startswith("Header format invalid!")
    assert "canary" not in f"{logged}{caplog.text}"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "lyftdata-server"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs"}, "theirs"),
    ],
)
async def test_the_standard_variables_name_the_service(monkeypatch, environ, name):
    """As for any traced program; the default is the program's name."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, {"OTEL_TRACES_SAMPLER": "always_on"})
    tracing._tracer.start_span("one").end()
    tracing.close()

    [span] = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == name


def test_one_request_in_ten_is_recorded_by_default(monkeypatch):
    """The specification's default is all of them, which a flood of requests would multiply."""
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    tracing = Tracing(InMemorySpanExporter(), {})
    tracing.close()

    assert tracing._provider.sampler.get_description() == (
        "ParentBased{root:TraceIdRatioBased{0.1},remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
        "localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}"
    )
