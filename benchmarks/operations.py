"""
One checkout's side of `compare.py`: a whole Server in this process, from request bytes to answer bytes, without sockets.

    python benchmarks/operations.py operations | starts SIZE

It imports `lyftdata` from PYTHONPATH, which `compare.py` sets, so that it runs against this checkout or an older one. It reads
an order per line from its standard input, and answers each with a line of JSON:

    NAME COUNT        CPU time per operation in microseconds, over COUNT operations and all threads
    calls NAME COUNT  function calls per operation in the event loop's thread, built-in functions included

`starts` prints a single line: CPU seconds and memory of a start with SIZE entries, each with its own key.
"""

import asyncio
import contextlib
import cProfile
import gc
import itertools
import json
import os
import pstats
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey
from tests.fleets import add_enrolled, add_with_keys, assertion_body, secret_body
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from lyftdata import serving
from lyftdata.core.enrollment import make_proof
from lyftdata.core.enrollment_secrets import derive_proof_key
from lyftdata.core.secret import Secret
from lyftdata.log import configure_logging
from lyftdata.server.clock import random_bytes, random_id
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.settings import ServerSettings, read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services

ISSUER = "http://bench.example"
ENROLLMENT_KEY = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
WORKERS = 1_000
_CONNECTIONS = 64
_A_TRANSACTION = 2_000

Request = bytes


class FakeTransport(asyncio.Transport):
    """
    Stands in for a connection.

    Args:
        answered: Called with the first data written after each `expect_answer`.
    """

    def __init__(self, answered: Callable[[bytes], None]) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 3_000)})
        self._answered = answered
        self._is_expected = False

    def expect_answer(self) -> None:
        """Treat the next data written as an answer."""
        self._is_expected = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Report an answer; what uvicorn writes after its head is dropped."""
        if self._is_expected:
            self._is_expected = False
            self._answered(bytes(data))

    def is_closing(self) -> bool:
        """Return that it is open."""
        return False

    def close(self) -> None:
        """Close nothing."""

    def abort(self) -> None:
        """Close nothing."""

    def pause_reading(self) -> None:
        """Pause nothing."""

    def resume_reading(self) -> None:
        """Resume nothing."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Limit nothing."""


class Connections:
    """Kept-alive connections to uvicorn's protocol; every answer is checked."""

    def __init__(self, config: Config, *, expected: bytes) -> None:
        if not config.loaded:
            config.load()
        self._config = config
        self._state = ServerState()
        self._state.default_headers = [(b"date", b"Mon, 30 Nov 2026 06:00:00 GMT"), *config.encoded_headers]
        self._expected = b"HTTP/1.1 " + expected
        self._answers: list[bytes] = []
        self._awaited = 0
        self._all_answered: asyncio.Future[None] | None = None
        self._ends: list[tuple[HttpToolsProtocol, FakeTransport]] = []

    def open(self) -> None:
        """Reconnect, since a Server closes connections that are idle for some seconds."""
        for protocol, _ in self._ends:
            protocol.connection_lost(None)
        self._ends = [self._connect() for _ in range(_CONNECTIONS)]

    def _connect(self) -> tuple[HttpToolsProtocol, FakeTransport]:
        kind: Any = self._config.http_protocol_class
        protocol = kind(config=self._config, server_state=self._state, app_state={})
        transport = FakeTransport(self._take)
        protocol.connection_made(transport)
        return protocol, transport

    async def ask(self, requests: list[Request]) -> list[bytes]:
        """Send requests, one at a time per connection; return all answers, in any order."""
        answers = self._answers = []
        for start in range(0, len(requests), _CONNECTIONS):
            asked = requests[start : start + _CONNECTIONS]
            self._awaited = len(asked)
            self._all_answered = asyncio.get_running_loop().create_future()
            for (protocol, transport), request in zip(self._ends, asked, strict=False):
                transport.expect_answer()
                protocol.data_received(request)
            # Without busy waiting, which would count as the Server's time while it waits for its disk.
            await self._all_answered
        return answers

    def _take(self, answer: bytes) -> None:
        if self._all_answered is None or self._all_answered.done():
            return
        self._answers.append(answer)
        self._awaited -= 1
        if not answer.startswith(self._expected):
            self._all_answered.set_exception(RuntimeError(f"wrong answer: {answer[:400]!r}"))
        elif self._awaited == 0:
            self._all_answered.set_result(None)


class Operations:
    """The operations to measure, by name: the connections to use and how to make requests, which is not measured."""

    def __init__(self, settings: ServerSettings, services: Services) -> None:
        self._services = services
        config = serving._config(settings, services)  # noqa: SLF001 - the real configuration
        ok = Connections(config, expected=b"200")
        self._make: dict[str, tuple[Connections, Callable[[int], list[Request]]]] = {
            "token by API key": (ok, self._by_key),
            "token by private_key_jwt": (ok, self._by_assertion),
            "enrollment": (Connections(config, expected=b"201"), self._enrollments),
            "/auth/verify": (Connections(config, expected=b"204"), self._verifications),
            "an empty 204": (Connections(_empty(), expected=b"204"), _nothing),
        }

    async def fill(self) -> None:
        """Add the Workers."""
        store = self._services.store
        self._keys = await store.write(partial(add_with_keys, numbers=range(WORKERS)))
        self._identities = await store.write(partial(add_enrolled, numbers=range(WORKERS)))

    async def tokens(self) -> None:
        """Get a token for each Worker with an API key."""
        connections = self._make["token by API key"][0]
        connections.open()
        answers = await connections.ask(self._by_key(WORKERS))
        bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
        self._tokens_in_turn = itertools.cycle([json.loads(body)["access_token"] for body in bodies])

    def prepare(self) -> None:
        """Start with the first Worker again."""
        self._keys_in_turn = itertools.cycle(self._keys)
        self._identities_in_turn = itertools.cycle(self._identities)

    async def cpu_us(self, name: str, count: int) -> float:
        """Return the CPU time per operation."""
        connections, make = self._make[name]
        requests = make(count)
        connections.open()
        gc.collect()
        begin = time.process_time()
        await connections.ask(requests)
        return (time.process_time() - begin) / count * 1e6

    async def calls(self, name: str, count: int) -> float:
        """Return the function calls per operation."""
        connections, make = self._make[name]
        requests = make(count)
        connections.open()
        profile = cProfile.Profile()
        profile.enable()
        await connections.ask(requests)
        profile.disable()
        stats = pstats.Stats(profile)
        if "OPERATIONS_PROFILE" in os.environ:
            stats.stream = sys.stderr  # type: ignore[attr-defined]
            stats.sort_stats("tottime").print_stats(60)
        return stats.total_calls / count  # type: ignore[attr-defined,no-any-return]

    def _by_key(self, count: int) -> list[Request]:
        chosen = itertools.islice(self._keys_in_turn, count)
        return [_post("/oauth2/token", secret_body(*credential)) for credential in chosen]

    def _by_assertion(self, count: int) -> list[Request]:
        now = int(datetime.now(UTC).timestamp())
        chosen = itertools.islice(self._identities_in_turn, count)
        return [
            _post("/oauth2/token", assertion_body(key, worker_id, ISSUER, now=now))
            for worker_id, key in chosen
        ]

    def _enrollments(self, count: int) -> list[Request]:
        key = derive_proof_key(Secret(ENROLLMENT_KEY), audience=ISSUER)
        return [_enrollment(key) for _ in range(count)]

    def _verifications(self, count: int) -> list[Request]:
        return [_get_with(token) for token in itertools.islice(self._tokens_in_turn, count)]


def _post(
    path: str, body: str, *, kind: str = "application/x-www-form-urlencoded", more: str = ""
) -> Request:
    head = f"POST {path} HTTP/1.1\r\nHost: bench.example\r\nContent-Type: {kind}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _enrollment(key: Any) -> Request:
    name, public = (
        f"press {secrets.token_hex(6)}",
        ECKey.import_key(ec.generate_private_key(ec.SECP256R1()).public_key()),
    )
    body = json.dumps({"client_name": name, "jwks": {"keys": [public.as_dict(private=False)]}})
    proof = make_proof(
        key,
        worker_name=name,
        thumbprint=public.thumbprint(),
        now=datetime.now(UTC),
        jti=random_id(random_bytes),
    )
    return _post("/oauth2/register", body, kind="application/json", more=f"Authorization: Bearer {proof}\r\n")


def _get_with(token: str) -> Request:
    return (
        f"GET /auth/verify HTTP/1.1\r\nHost: bench.example\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )


def _nothing(count: int) -> list[Request]:
    return [_get_with("x" * 400)] * count


def _empty() -> Config:
    """Return a uvicorn that does nothing else: `peers/empty_204.py` without a socket."""

    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return Config(answer, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)


def _settings(place: Path) -> ServerSettings:
    return read_server_settings(
        {
            "LYFTDATA_STAGING_DIR": str(place / "staging"),
            "LYFTDATA_PUBLIC_URL": ISSUER,
            "LYFTDATA_ADMIN_INIT_PASSWORD": "correct horse battery",
            "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
        }
    )


@contextlib.asynccontextmanager
async def _opened(place: Path) -> AsyncIterator[Operations]:
    settings = _settings(place)
    async with open_services(settings) as services:
        operations = Operations(settings, services)
        await operations.fill()
    async with open_services(settings) as services:
        again = Operations(settings, services)
        again._keys, again._identities = operations._keys, operations._identities  # noqa: SLF001
        again.prepare()
        await again.tokens()
        gc.freeze()
        yield again


async def _obey(place: Path) -> None:
    async with _opened(place) as operations:
        print(json.dumps("ready"), flush=True)
        # In a thread: a blocked event loop would look like an overloaded one.
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, _, count = line.strip().rpartition(" ")
            measure = operations.calls if name.startswith("calls ") else operations.cpu_us
            print(json.dumps(await measure(name.removeprefix("calls "), int(count))), flush=True)


async def _fill_many(place: Path, size: int) -> None:
    async with open_services(_settings(place)) as services:
        for begin in range(0, size, _A_TRANSACTION):
            numbers = range(begin, min(size, begin + _A_TRANSACTION))
            await services.store.write(partial(add_with_keys, numbers=numbers))


async def _start(place: Path) -> dict[str, float]:
    begin = time.process_time()
    async with open_services(_settings(place)) as services:
        found = {"start_cpu_s": time.process_time() - begin, "resident_mb": _resident_mb()}
        assert services.directory.worker_count() >= 0  # noqa: S101
        return found


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def main() -> None:
    """Run the mode that is named in the arguments."""
    configure_logging(format="json", level="error")
    os.umask(0o077)
    sys.setswitchinterval(serving._SWITCH_INTERVAL_S)  # noqa: SLF001 - as it is served
    gc.set_threshold(*serving._GC_THRESHOLDS)  # noqa: SLF001
    loop = serving._loop_factory()  # noqa: SLF001
    with asyncio.Runner(loop_factory=loop) as runner:
        match sys.argv[1:]:
            case ["operations"]:
                with tempfile.TemporaryDirectory() as directory:
                    runner.run(_obey(Path(directory)))
            case ["fill", place, size]:
                runner.run(_fill_many(Path(place), int(size)))
            case ["start", place]:
                print(json.dumps(runner.run(_start(Path(place)))))
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    main()
