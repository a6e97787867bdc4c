"""gRPC: only a Worker's calls reach a method, of any kind. Real gRPC servers, and a fake lyftdata Server."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.unit.verify.peer import World, mint, resigned

from lyftdata.verify.grpc import AsyncWorkerAuthInterceptor, WorkerAuthInterceptor, current_worker

METHODS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")


def who():
    """Return the caller's ID, as bytes."""
    return current_worker().worker_id.encode()


def handlers(kinds) -> Any:
    """Return a service with one method of each kind; messages are bytes."""
    makers = (
        grpc.unary_unary_rpc_method_handler,
        grpc.unary_stream_rpc_method_handler,
        grpc.stream_unary_rpc_method_handler,
        grpc.stream_stream_rpc_method_handler,
    )
    methods: dict[str, Any] = {
        name: make(kind) for name, make, kind in zip(METHODS, makers, kinds, strict=True)
    }
    return grpc.method_handlers_generic_handler("jobs.Jobs", methods)


@contextlib.contextmanager
def sync_server(world, **options):
    """Serve with threads; yield the address."""

    def one(_request, _context):
        return who()

    def many(request, context):
        for _ in range(3):
            yield one(request, context)

    interceptor = WorkerAuthInterceptor(world.verifier(), **options)
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
    server.add_generic_rpc_handlers((handlers((one, many, one, many)),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(180)


@contextlib.asynccontextmanager
async def aio_server(world, **options):
    """Serve on the event loop; yield the address."""

    async def one(_request, _context):
        await asyncio.sleep(0)
        return who()

    async def many(_request, _context):
        for _ in range(3):
            yield who()

    interceptor = AsyncWorkerAuthInterceptor(world.async_verifier(), **options)
    server = grpc.aio.server(interceptors=[interceptor])
    server.add_generic_rpc_handlers((handlers((one, many, one, many)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def call(address, method, metadata):
    """Call a method; return its answers, or raise grpc.RpcError."""
    with grpc.insecure_channel(address) as opened:
        channel: Any = opened
        path = f"/jobs.Jobs/{method}"
        how: dict[str, Any] = {"metadata": metadata, "timeout": 20}
        match method:
            case "UnaryUnary":
                return [channel.unary_unary(path)(b"", **how)]
            case "UnaryStream":
                return list(channel.unary_stream(path)(b"", **how))
            case "StreamUnary":
                return [channel.stream_unary(path)(iter([b"", b""]), **how)]
            case _:
                return list(channel.stream_stream(path)(iter([b"", b""]), **how))


@pytest.fixture(params=["threads", "event loop"])
def served(request):
    """Return a function that calls a method of a server of either kind."""

    async def ask(world, method, metadata, **options):
        if request.param == "threads":
            with sync_server(world, **options) as address:
                return await asyncio.to_thread(call, address, method, metadata)
        async with aio_server(world, **options) as address:
            return await asyncio.to_thread(call, address, method, metadata)

    return ask


def bearer(token):
    """Return the metadata with a token."""
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize("method", METHODS)
async def test_a_method_knows_its_worker(served, method):
    """For each of its answers, whatever is streamed."""
    answers = await served(World(), method, bearer(mint()))

    assert answers == [b"w-17"] * (3 if method.endswith("Stream") else 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "metadata",
    [(), bearer("nonsense"), bearer(mint(ttl_s=0)), bearer("a") + bearer("b")],
    ids=["none", "x", "over", "two"],
)
async def test_other_callers_are_unauthenticated(served, method, metadata):
    """Without a token, with an invalid or expired one, or with two; the challenge is in the trailers."""
    with pytest.raises(grpc.RpcError) as refused:
        await served(World(), method, metadata)

    error = refused.value
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    trailers = {item.key: str(item.value) for item in error.trailing_metadata()}
    assert trailers["www-authenticate"].startswith('Bearer realm="lyftdata"')


@pytest.mark.parametrize("method", METHODS)
async def test_a_missing_scope_is_permission_denied(served, method):
    """A Worker with the scope gets through."""
    with pytest.raises(grpc.RpcError) as refused:
        await served(World(), method, bearer(mint()), scopes=["jobs"])
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED

    scoped = resigned(mint(), claims={"scope": "jobs"})
    assert await served(World(), method, bearer(scoped), scopes=["jobs"])


async def test_an_outage_is_unavailable(served):
    """A client may retry."""
    world = World()
    world.server.up = False

    with pytest.raises(grpc.RpcError) as refused:
        await served(world, "UnaryUnary", bearer(mint()))
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_public_method_has_no_worker(served):
    """Any caller may call it."""
    with pytest.raises(grpc.RpcError) as failed:
        await served(World(), "UnaryUnary", bearer("x"), public_methods=["/jobs.Jobs/UnaryUnary"])

    assert failed.value.code() == grpc.StatusCode.UNKNOWN
    assert "no Worker makes this call" in str(failed.value.details())


async def test_an_unknown_method_is_unimplemented(served):
    """The interceptor answers only for methods that exist."""
    with pytest.raises(grpc.RpcError) as failed:
        await served(World(), "Nothing", ())

    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_concurrent_calls_do_not_mix_their_workers():
    """On one event loop, each call has its own Worker."""
    from tests.builders import worker

    async with aio_server(World()) as address, grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.unary_unary("/jobs.Jobs/UnaryUnary")
        tokens = {f"w-{number}": mint(worker=worker(f"w-{number}")) for number in range(20)}
        answers = await asyncio.gather(
            *(method(b"", metadata=bearer(token), timeout=180) for token in tokens.values())
        )

    assert answers == [name.encode() for name in tokens]
