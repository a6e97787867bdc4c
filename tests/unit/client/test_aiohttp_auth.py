"""The auth for aiohttp, over real sockets: a token is sent only to the named origins, also when it is replaced."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.processes import free_port

from lyftdata.client import OriginNotAllowedError, TokenKeeper
from lyftdata.client.aiohttp_auth import AiohttpWorkerAuth
from lyftdata.client.token_endpoint import TokenReply


class Source:
    """Gives a new token each time."""

    new_for_s = 5.0
    max_retry_s = 30.0

    def __init__(self):
        self.count = 0

    def fetch(self, *, rejected=None):
        """Give the next token."""
        self.count += 1
        return TokenReply(f"t{self.count}", 900)

    async def afetch(self, *, rejected=None):
        """Give the next token."""
        return self.fetch(rejected=rejected)


class Service:
    """A service on its own port, which records what it receives."""

    def __init__(self):
        self.seen = []
        self.taken = lambda _token: True
        self.leads_to = ""
        self.url = ""

    async def answer(self, request):
        """Answer a request, or open a websocket."""
        given = request.headers.get("Authorization")
        body = await request.text()
        self.seen.append((request.path, given, body))
        if request.path == "/elsewhere":
            raise web.HTTPTemporaryRedirect(f"{self.leads_to}{request.query.get('to', '/')}")
        if not given or not self.taken(given.removeprefix("Bearer ")):
            return web.Response(status=401)
        if request.path == "/socket":
            opened = web.WebSocketResponse()
            await opened.prepare(request)
            await opened.close()
            return opened
        return web.Response(text="fine")


@pytest.fixture
async def world():
    """Serve a service and another service; yield them with the auth for the first one, its tokens and a clock."""
    made: Any = World()
    runners = []
    for service in (made.service, made.other_service):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", service.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        service.url = f"http://127.0.0.1:{port}"
    made.service.leads_to, made.other_service.leads_to = made.other_service.url, made.service.url
    made.auth = AiohttpWorkerAuth(made.tokens, origins=[made.service.url])
    async with aiohttp.ClientSession(middlewares=[made.auth]) as made.http:
        yield made
    for runner in runners:
        await runner.cleanup()


class World:
    """What the fixture sets up."""

    http: aiohttp.ClientSession
    auth: AiohttpWorkerAuth

    def __init__(self):
        self.now_s = 1000.0
        self.service = Service()
        self.other_service = Service()
        self.source = Source()
        self.tokens = TokenKeeper(self.source, monotonic=lambda: self.now_s, chance=lambda: 0.5)

    async def ask(self, path="/", *, url=None, body=None, **options):
        """Send a request; return the status."""
        method = "GET" if body is None else "POST"
        async with self.http.request(
            method, (url or self.service.url) + path, data=body, **options
        ) as answer:
            await answer.read()
            return answer.status


async def test_requests_and_websockets_carry_the_token(world):
    """The same one each time."""
    assert [await world.ask(body=body) for body in (None, b"work")] == [200, 200]
    async with world.http.ws_connect(f"{world.service.url}/socket") as opened:
        await opened.receive()

    assert {given for _, given, _ in world.service.seen} == {"Bearer t1"}
    assert len(world.service.seen) == 3
    assert world.source.count == 1


@pytest.mark.parametrize("body", [b"work", "work", None], ids=str)
async def test_after_a_401_the_request_is_repeated_with_another_token(world, body):
    """Including its body. If that is refused too, the caller gets the 401."""
    await world.ask()
    world.service.taken = lambda token: token == "t2"
    world.now_s += 10
    assert await world.ask("/jobs", body=body) == 200
    assert [seen[1:] for seen in world.service.seen[1:]] == [
        ("Bearer t1", "work" if body else ""),
        ("Bearer t2", "work" if body else ""),
    ]

    world.service.taken = lambda _token: False
    assert [await world.ask() for _ in range(3)] == [401] * 3
    assert world.source.count == 2


async def test_a_streamed_body_is_not_sent_again(world):
    """It can be read only once, so the caller gets the 401."""
    await world.ask()
    world.service.taken = lambda _token: False
    world.now_s += 10

    async def stream():
        yield b"work"

    assert await world.ask(body=stream()) == 401
    assert len(world.service.seen) == 2


async def test_the_token_is_sent_to_no_other_origin(world):
    """Nothing is sent to another port, also by websocket, and no token is requested for it."""
    with pytest.raises(OriginNotAllowedError):
        await world.ask(url=world.other_service.url)
    with pytest.raises(OriginNotAllowedError):
        await world.http.ws_connect(f"{world.other_service.url}/socket")

    assert world.other_service.seen == []
    assert world.source.count == 0


async def test_a_redirect_to_another_origin_carries_no_token(world):
    """Not even after a 401 from there; the next request is checked again."""
    await world.ask()
    world.now_s += 100

    assert await world.ask("/elsewhere") == 401
    assert world.other_service.seen == [("/", None, "")]
    assert world.source.count == 1
    with pytest.raises(OriginNotAllowedError):
        await world.ask(url=world.other_service.url)


async def test_a_redirect_back_to_the_service_carries_the_token(world):
    """The other service in between gets no token."""
    assert await world.ask("/elsewhere?to=/elsewhere") == 200
    assert world.other_service.seen == [("/elsewhere", None, "")]
    assert world.service.seen[-1] == ("/", "Bearer t1", "")


async def test_a_redirect_that_is_not_followed_permits_no_token(world):
    """After it, the other origin may get one request without a token, and never one with it."""
    assert await world.ask("/elsewhere", allow_redirects=False) == 307
    assert await world.ask(url=world.other_service.url) == 401
    with pytest.raises(OriginNotAllowedError):
        await world.ask(url=world.other_service.url)

    assert [given for _, given, _ in world.other_service.seen] == [None]


async def test_tasks_do_not_share_redirects(world):
    """The target of one task's redirect is not permitted to another task."""
    await asyncio.create_task(world.ask("/elsewhere", allow_redirects=False))

    with pytest.raises(OriginNotAllowedError):
        await world.ask(url=world.other_service.url)
