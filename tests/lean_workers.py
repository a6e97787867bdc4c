"""
Thousands of Workers in one process, each with its own connection and the rules of the real agent, without its overhead.

The real agent is `lyftdata.worker.agent`. Here are its tokens, polls and waits (with the same `Backoff`) over bare
sockets, so that ten thousand fit on a core. There is no COMMAND, log or TLS.
"""

import asyncio
import collections
import json
import random
import resource
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tests.fleets import assertion_body, secret_body

from lyftdata.client.held_token import HeldToken
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.backoff import Backoff

_MIN_POLL_S = 1.0
_POLL_SLACK_S = 15.0


class Line(asyncio.Protocol):
    """A kept-alive connection that sends one request at a time and returns status, headers and body."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._answer: asyncio.Future[tuple[int, dict[bytes, bytes], bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Return the answer to the caller once it is complete."""
        self._data += data
        head, separator, body = bytes(self._data).partition(b"\r\n\r\n")
        if not separator or self._answer is None or self._answer.done():
            return
        lines = head.split(b"\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        if len(body) >= int(headers.get(b"content-length", b"0")):
            self._data.clear()
            self._answer.set_result((int(lines[0].split()[1]), headers, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Raise an error in the caller that waits for an answer."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    @property
    def is_open(self) -> bool:
        """Return whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, *, within_s: float) -> tuple[int, dict[bytes, bytes], bytes]:
        """Send a request; return status, headers and body. Raises OSError (TimeoutError is one)."""
        if self._transport is None:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(within_s):
            return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()


def post(path: bytes, body: bytes, *, bearer: str = "", forwarded: str = "") -> bytes:
    """Return a request: JSON if there is a bearer token, else a form; `forwarded` is the client's address as a proxy reports it."""
    kind = b"application/json" if bearer else b"application/x-www-form-urlencoded"
    more = b"Authorization: Bearer %b\r\n" % bearer.encode() if bearer else b""
    more += b"X-Forwarded-For: %b\r\n" % forwarded.encode() if forwarded else b""
    head = b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path, kind, more, len(body)) + body


class Tally:
    """What Workers have sent and received, per second and in total."""

    def __init__(self) -> None:
        self.requests: collections.Counter[int] = collections.Counter()
        self.answers: collections.Counter[str] = collections.Counter()
        self.online: set[str] = set()
        # The status is 0 if there was no answer.
        self.on_answer: Callable[[str, int, dict[str, Any]], None] = lambda *_answer: None

    def per_second(self, since_s: float) -> list[int]:
        """Return how many requests were sent in each second since then."""
        last = max(self.requests, default=int(since_s))
        return [self.requests[second] for second in range(int(since_s), last + 1)]


class LeanWorker:
    """
    One Worker.

    Args:
        worker_id: Its ID.
        credential: Its API key, or its identity key.
        host: The Server's address.
        port: The Server's port.
        tally: Where it records what it sends and receives.
        address: The local address that it calls from; the system chooses one unless given.
        forwarded: The address in X-Forwarded-For; no such header unless given.
        facts: What it reports about its host, instead of a host name made from its ID.
    """

    def __init__(
        self,
        worker_id: str,
        credential: str | ec.EllipticCurvePrivateKey,
        *,
        host: str,
        port: int,
        tally: Tally,
        address: str | None = None,
        forwarded: str = "",
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self._forwarded = forwarded
        self.worker_id = worker_id
        self._credential = credential
        self._host, self._port, self._tally = host, port, tally
        self._from = None if address is None else (address, 0)
        self._poll = json.dumps(
            {
                "boot_id": uuid.uuid4().hex,
                "host": facts or {"hostname": f"host-{worker_id}", "os": "Linux", "pid": "7"},
            }
        ).encode()
        self._line: Line | None = None
        self._token: HeldToken | None = None
        self._backoff = Backoff(random=random.random)
        self._hold_s = 25.0
        self._last_answer_s = -_MIN_POLL_S

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                try:
                    await self._poll_once()
                except OSError:
                    # A late answer would be taken for the answer to the next request.
                    self.disconnect()
                    self._tally.answers["no connection"] += 1
                    self._tally.on_answer(self.worker_id, 0, {})
                    await self._wait_before_retry(None)
        finally:
            self.disconnect()

    @property
    def token(self) -> str:
        """Return the token it holds, empty if none."""
        return "" if self._token is None else self._token.text

    def disconnect(self) -> None:
        """Close the connection; the next request opens another."""
        if self._line is not None:
            self._line.close()

    async def log_in(self) -> None:
        """Get a token."""
        status, headers, body = await self._ask(b"/oauth2/token", self._token_body(), within_s=240)
        nonce = headers.get(b"lyftdata-nonce", b"").decode()
        if status == 401 and nonce and not isinstance(self._credential, str):
            # As the agent does: after a crash, or after it was disabled, a Worker signs with a nonce of the Server.
            self._tally.answers["/oauth2/token 401"] -= 1
            self._tally.answers["nonce"] += 1
            status, headers, body = await self._ask(b"/oauth2/token", self._token_body(nonce), within_s=240)
        if status != 200:
            await self._wait_before_retry(headers.get(b"retry-after"))
            return
        reply = TokenReply(
            **{k: v for k, v in json.loads(body).items() if k in {"access_token", "expires_in"}}
        )
        self._token = HeldToken(reply, monotonic_s=time.monotonic(), jitter=random.random())

    def _token_body(self, nonce: str = "") -> bytes:
        if isinstance(self._credential, str):
            return secret_body(self.worker_id, self._credential).encode()
        audience = f"http://{self._host}:{self._port}"
        return assertion_body(
            self._credential, self.worker_id, audience, now=int(time.time()), nonce=nonce
        ).encode()

    async def _poll_once(self) -> None:
        if self._token is None or self._token.is_due(time.monotonic()):
            await self.log_in()
            return
        status, headers, raw = await self._ask(
            b"/api/worker/session", self._poll, within_s=self._hold_s + _POLL_SLACK_S, bearer=self._token.text
        )
        # A load balancer's own answer is not JSON.
        body = json.loads(raw) if headers.get(b"content-type", b"").startswith(b"application/json") else {}
        self._tally.on_answer(self.worker_id, status, body)
        if status == 200:
            self._backoff.reset()
            self._hold_s = float(body["hold_s"])
            if body["directives"]:
                await self._obey()
                return
            if self.worker_id in self._tally.online:
                await self._limit_poll_rate()
            self._tally.online.add(self.worker_id)
            return
        if status == 401:
            self._token = None
        await self._wait_before_retry(headers.get(b"retry-after"))

    async def _obey(self) -> None:
        """Obey a directive: `stop` ends this Worker, and no measurement uses others."""
        await asyncio.Event().wait()

    async def _wait_before_retry(self, retry_after: bytes | None) -> None:
        self._tally.online.discard(self.worker_id)
        await asyncio.sleep(self._backoff.next_s(retry_after_s=float(retry_after) if retry_after else None))

    async def _limit_poll_rate(self) -> None:
        if time.monotonic() - self._last_answer_s < _MIN_POLL_S:
            await asyncio.sleep(_MIN_POLL_S * (0.5 + random.random()))
        self._last_answer_s = time.monotonic()

    async def _ask(
        self, path: bytes, body: bytes, *, within_s: float, bearer: str = ""
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        if self._line is None or not self._line.is_open:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(180):
                _, self._line = await loop.create_connection(
                    Line, self._host, self._port, local_addr=self._from
                )
        self._tally.requests[int(time.monotonic())] += 1
        answer = await self._line.ask(
            post(path, body, bearer=bearer, forwarded=self._forwarded), within_s=within_s
        )
        self._tally.answers[f"{path.decode()} {answer[0]}"] += 1
        if answer[1].get(b"connection", b"").lower() == b"close":
            self._line.close()
        return answer


def allow_many_connections() -> None:
    """Raise this process's limit of open files to the maximum that the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def spread(work: Sequence[Callable[[], Awaitable[None]]], *, at_once: int) -> None:
    """Run all jobs, at most `at_once` at a time."""
    todo = iter(work)

    async def one() -> None:
        for job in todo:
            await job()

    await asyncio.gather(*(one() for _ in range(at_once)))


async def until(is_true: Callable[[], bool], *, within_s: float, what: str) -> float:
    """Wait until `is_true` returns True; return how many seconds that took."""
    begin = time.monotonic()
    while not is_true():
        if time.monotonic() - begin > within_s:
            message = f"not within {within_s} s: {what}"
            raise TimeoutError(message)
        await asyncio.sleep(0.02)
    return time.monotonic() - begin
