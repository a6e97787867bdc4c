"""`lyftdata.testing`: a service's own tests need no Server, and see what a real one would give."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from lyftdata.client import TokenKeeper, TokenRefusedError
from lyftdata.core.refusals import RefusedError
from lyftdata.testing import FakeServer, Flaw, asgi_client, wsgi_client
from lyftdata.testing.grpc import worker_channel
from lyftdata.verify import (
    AsyncWorkerVerifier,
    InvalidTokenError,
    KeysUnavailableError,
    TokenRevokedError,
    UnknownKeyError,
    WorkerVerifier,
    asgi,
    wsgi,
)
from lyftdata.verify.grpc import WorkerAuthInterceptor, current_worker

AUDIENCE = "https://files.example"


@pytest.fixture(scope="module")
def shared():
    """Return a Server for tests that do not change it."""
    with FakeServer() as server:
        yield server


def test_a_token_has_the_fields_that_the_test_chooses(shared):
    """All others are what a Server would set."""
    token = shared.token(
        "w-17",
        name="Prëss ✓",
        labels={"zone": "eu-1", "gpu": ""},
        strategy="auto_enrollment",
        audience=AUDIENCE,
        scopes=["jobs:write", "jobs:read"],
        expires_in_s=60,
    )
    worker = WorkerVerifier(shared.issuer, audience=AUDIENCE).verify(token, scopes=["jobs:read"])

    assert (worker.worker_id, worker.name, worker.strategy) == ("w-17", "Prëss ✓", "auto_enrollment")
    assert worker.labels == {"zone": "eu-1", "gpu": ""}
    assert worker.scopes == {"jobs:read", "jobs:write"}
    assert worker.audience == AUDIENCE
    assert 58 <= (worker.expires_at - worker.issued_at).total_seconds() <= 61


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "Ed25519"])
def test_each_algorithm_of_a_server_is_available(algorithm):
    """A service can be tested with its Server's algorithm, and without a socket."""
    server = FakeServer(issuer="https://lyftdata.example", algorithm=algorithm)
    verifier = WorkerVerifier(server.issuer, audience=server.issuer, transport=server.transport())

    assert verifier.verify(server.token("w-1")).worker_id == "w-1"


@pytest.mark.parametrize("flaw", Flaw.offline())
def test_a_flawed_token_is_refused_for_its_flaw_only(shared, flaw):
    """In threads and on an event loop."""
    token = shared.flawed_token(flaw, "w-1", audience=AUDIENCE, scopes=["jobs:read"])
    with pytest.raises(InvalidTokenError) as refused:
        WorkerVerifier(shared.issuer, audience=AUDIENCE).verify(token)
    assert refused.value.code == flaw.value

    async def verify():
        await AsyncWorkerVerifier(shared.issuer, audience=AUDIENCE).verify(token)

    with pytest.raises(InvalidTokenError) as refused:
        asyncio.run(verify())
    assert refused.value.code == flaw.value


def test_every_reason_to_refuse_a_token_has_a_flaw():
    """A new kind of refusal cannot be forgotten here."""

    def leaves(kind):
        return [leaf for child in kind.__subclasses__() for leaf in leaves(child)] or [kind]

    codes = {kind.code for kind in leaves(InvalidTokenError)} - {"missing_token"}
    assert {flaw.value for flaw in Flaw} == codes


@pytest.mark.parametrize("for_resource", [True, False])
def test_online_checks_refuse_revoked_and_disabled_workers_tokens(for_resource):
    """Offline such a token is valid, as with a real Server. Online it stays refused even after the Worker is enabled again."""
    with FakeServer() as server:
        audience = server.issuer
        options: dict[str, Any] = {}
        if for_resource:
            resource = server.add_resource("files", audience=AUDIENCE, scopes=["jobs:read"])
            audience, options = AUDIENCE, {"resource_name": resource.name, "resource_key": resource.key}
        offline = WorkerVerifier(server.issuer, audience=audience)
        revoked = server.flawed_token(Flaw.TOKEN_REVOKED, "w-1", audience=audience)
        good = server.token("w-1", audience=audience)
        with WorkerVerifier(server.issuer, audience=audience, online=True, **options) as online:
            assert online.verify(good).worker_id == offline.verify(revoked).worker_id == "w-1"
            with pytest.raises(TokenRevokedError):
                online.verify(revoked)
            server.disable("w-1")
            with pytest.raises(TokenRevokedError):
                online.verify(good)
            server.enable("w-1")
            with pytest.raises(TokenRevokedError):
                online.verify(good)
            assert online.verify(server.token("w-1", audience=audience)).worker_id == "w-1"


def test_a_resource_with_a_wrong_key_learns_nothing():
    """Its online check fails, as with a real Server."""
    from lyftdata.verify import OnlineCheckUnavailableError

    with FakeServer() as server:
        server.add_resource("files", audience=AUDIENCE)
        options: Any = {"resource_name": "files", "resource_key": "lyftdata_wrong"}
        token = server.token(audience=AUDIENCE)
        online = WorkerVerifier(server.issuer, audience=AUDIENCE, online=True, **options)
        with online, pytest.raises(OnlineCheckUnavailableError):
            online.verify(token)


@pytest.mark.parametrize("forget_old", [False, True])
def test_signing_keys_can_be_rotated(forget_old):
    """A new key is accepted, and an old one as long as it is published."""
    now_s = 1000.0
    server = FakeServer(issuer="https://lyftdata.example")
    verifier = WorkerVerifier(
        server.issuer, audience=server.issuer, transport=server.transport(), monotonic=lambda: now_s
    )
    old = server.token("w-1")
    verifier.verify(old)
    server.rotate_keys(forget_old=forget_old)
    now_s += 400

    assert verifier.verify(server.token("w-2")).worker_id == "w-2"
    if forget_old:
        with pytest.raises(UnknownKeyError):
            verifier.verify(old)
    else:
        assert verifier.verify(old).worker_id == "w-1"


def test_a_restarted_fake_server_has_the_same_url_and_keys():
    """While it is stopped, it refuses connections."""
    with FakeServer() as server:
        url, token = server.url, server.token("w-1")
        server.stop()
        with pytest.raises(KeysUnavailableError):
            WorkerVerifier(url, audience=url).verify(token)
        server.start()

        assert server.url == url
        assert WorkerVerifier(url, audience=url).verify(token).worker_id == "w-1"


def test_a_fake_server_that_was_not_started_has_no_url():
    """The error says what to do."""
    with pytest.raises(RuntimeError, match="with FakeServer"):
        FakeServer().token()


def test_a_token_that_no_server_would_sign_is_an_error(shared):
    """A test cannot rely on a Worker ID, a scope or a token that a Server would refuse."""
    from lyftdata.core.errors import InvalidInputError
    from lyftdata.core.refusals import TokenTooLongError

    for fields in ({"worker_id": "w 1"}, {"scopes": ["two words"]}):
        with pytest.raises(InvalidInputError):
            shared.token(**fields)
    with pytest.raises(TypeError, match="scopes"):
        shared.token(scopes="jobs:read")
    with pytest.raises(TokenTooLongError):
        shared.token(labels={"k": "v" * 5000})


# --- clients --------------------------------------------------------------------------------------------


def test_a_client_with_a_workers_environment_gets_tokens(tmp_path, monkeypatch):
    """For the Server and for a resource, with the requested scopes; the developer's own identity is ignored."""
    enrolled = tmp_path / "lyftdata" / "worker"
    enrolled.mkdir(parents=True)
    (enrolled / "identity.json").write_text(
        '{"issuer": "http://o", "server_url": "http://o", "worker_id": "w-9", "worker_name": "mine"}'
    )
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with FakeServer() as server:
        server.add_resource("files", audience=AUDIENCE, scopes=["a", "b"])
        worker = server.add_worker("w-1", labels={"zone": "eu-1"})

        def token(**wanted: Any) -> Any:
            return server.read(TokenKeeper.from_environment(worker.environ, **wanted).get())

        assert (token().aud, token().labels) == (server.issuer, {"zone": "eu-1"})
        assert token(resource=AUDIENCE).scope == "a b"
        assert token(resource=AUDIENCE, scope="b").scope == "b"
        assert token(scope="b").aud == AUDIENCE
        for wanted in ({"resource": "https://elsewhere.example"}, {"resource": AUDIENCE, "scope": "c"}):
            with pytest.raises(TokenRefusedError):
                token(**wanted)
        server.disable("w-1")
        with pytest.raises(TokenRefusedError) as refused:
            token()
        assert refused.value.final is False
        with pytest.raises(TokenRefusedError) as refused:
            wrong = worker.environ | {"LYFTDATA_WORKER_ID": "w-2"}
            TokenKeeper.from_environment(wrong).get()
        assert refused.value.final is True


def wsgi_app(environ, start_response):
    """Answer with the caller's ID."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ[wsgi.WORKER].worker_id.encode()]


async def asgi_app(scope, _receive, send):
    """Answer with the caller's ID."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope[asgi.WORKER].worker_id.encode()})


def test_a_wsgi_client_sends_the_token(shared):
    """Without a token, the application refuses it."""
    verifier = WorkerVerifier(shared.issuer, audience=shared.issuer)
    app = wsgi.WorkerAuthMiddleware(wsgi_app, verifier=verifier)

    with wsgi_client(app, token=shared.token("w-1")) as client:
        assert client.get("/").text == "w-1"
    with wsgi_client(app) as client:
        assert client.get("/").status_code == 401


async def test_an_asgi_client_sends_the_token(shared):
    """Without a token, the application refuses it."""
    verifier = AsyncWorkerVerifier(shared.issuer, audience=shared.issuer)
    app = asgi.WorkerAuthMiddleware(asgi_app, verifier=verifier)

    async with asgi_client(app, token=shared.token("w-1")) as client:
        assert (await client.get("/")).text == "w-1"
    async with asgi_client(app) as client:
        assert (await client.get("/")).status_code == 401


def test_a_grpc_channel_sends_the_token(shared):
    """For each of the four kinds of method."""

    def unary(request, _context):
        return request + current_worker().worker_id.encode()

    def stream(request, _context):
        yield request + current_worker().worker_id.encode()

    def of_stream(requests, _context):
        return b"".join(requests) + current_worker().worker_id.encode()

    def stream_of_stream(requests, _context):
        for request in requests:
            yield request + current_worker().worker_id.encode()

    make: Any = grpc
    methods = {
        "unary": make.unary_unary_rpc_method_handler(unary),
        "stream": make.unary_stream_rpc_method_handler(stream),
        "of_stream": make.stream_unary_rpc_method_handler(of_stream),
        "stream_of_stream": make.stream_stream_rpc_method_handler(stream_of_stream),
    }
    verifier = WorkerVerifier(shared.issuer, audience=shared.issuer)
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[WorkerAuthInterceptor(verifier)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with worker_channel(f"127.0.0.1:{port}", token=shared.token("w-1")) as opened:
            channel: Any = opened
            assert channel.unary_unary("/t.T/unary")(b"-", timeout=180) == b"-w-1"
            assert list(channel.unary_stream("/t.T/stream")(b"-", timeout=180)) == [b"-w-1"]
            assert channel.stream_unary("/t.T/of_stream")(iter([b"-", b"-"]), timeout=180) == b"--w-1"
            assert list(channel.stream_stream("/t.T/stream_of_stream")(iter([b"-"]), timeout=180)) == [
                b"-w-1"
            ]
    finally:
        server.stop(None).wait(180)


# --- imports --------------------------------------------------------------------------------------------


def test_the_plugin_imports_nothing_until_it_is_used():
    """Every project with the package installed loads the plugin, so it must import only pytest."""
    program = (
        "import pytest, sys; before = set(sys.modules); import lyftdata.pytest_plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['lyftdata', 'lyftdata.pytest_plugin']"


def test_read_refuses_a_token_of_another_server(shared):
    """It is for this Server's own tokens."""
    with FakeServer() as other, pytest.raises(RefusedError):
        shared.read(other.token())
