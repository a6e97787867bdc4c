"""Turns: how many online checks for one Worker a verifier makes at once, and what happens to the requests that wait."""

import asyncio
import threading

import httpx2
import msgspec
import pytest
from tests.builders import worker
from tests.unit.verify.peer import World, mint

from lyftdata.verify import AsyncWorkerVerifier, OnlineCheckUnavailableError, TokenRevokedError, _turns
from lyftdata.verify._turns import MAX_AT_ONCE, Turns

OTHER = worker("w-18")


class SlowServer:
    """A Server that answers about invalid tokens only when a test lets it."""

    def __init__(self) -> None:
        self.world = World(online=True, online_fail_open=True)
        self.asked = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()
        self.open = self.most_open = 0

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/oauth2/introspect" and b"client_id" in request.content:
            answer = self.world.server(request)
            if b"active" in answer.content and b"true" in answer.content:
                return answer
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            self.asked.release()
            await self.may_answer.wait()
            self.open -= 1
            return answer
        return self.world.server(request)

    def verifier(self) -> AsyncWorkerVerifier:
        """Return a verifier that uses this Server."""
        self.world.options["transport"] = httpx2.MockTransport(self)
        return self.world.async_verifier()


async def test_a_flood_from_one_worker_delays_no_other():
    """It uses only its share of the connections, and each request of a disabled Worker is refused."""
    server = SlowServer()
    verifier = server.verifier()
    tokens = [mint(jti=f"j{number}") for number in range(5 * MAX_AT_ONCE)]
    server.world.server.revoked = set(tokens)
    flood = [asyncio.create_task(verifier.verify(token)) for token in tokens]
    for _ in range(MAX_AT_ONCE):
        await server.asked.acquire()

    assert (await verifier.verify(mint(worker=OTHER))).worker_id == "w-18"
    server.may_answer.set()
    outcomes = await asyncio.gather(*flood, return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {TokenRevokedError}
    assert server.most_open == MAX_AT_ONCE
    assert len(verifier._turns_here()) == 0
    await verifier.aclose()


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_request_that_waits_too_long_for_a_turn_is_refused(monkeypatch, is_async):
    """Even with `online_fail_open`: otherwise a disabled Worker could cause the outage itself by flooding."""
    world = World(online=True, online_fail_open=True)
    verifier = world.async_verifier() if is_async else world.verifier()

    async def verify(token: str) -> None:
        if isinstance(verifier, AsyncWorkerVerifier):
            await verifier.verify(token)
        else:
            await asyncio.to_thread(verifier.verify, token)

    # Fetches the keys while the timeout is still long.
    await verify(mint(jti="first"))
    monkeypatch.setattr(_turns, "MAX_AT_ONCE", 0)
    monkeypatch.setattr(verifier, "_endpoint", msgspec.structs.replace(verifier._endpoint, timeout_s=0.01))

    with pytest.raises(OnlineCheckUnavailableError):
        await verify(mint(jti="second"))

    assert world.server.checks == 1


def test_a_forked_process_does_not_wait_for_its_parents_threads(monkeypatch):
    """After a fork, the threads that hold the turns exist only in the parent."""
    verifier = World(online=True).verifier()
    turns = verifier._turns_here().join("w-17")
    for _ in range(MAX_AT_ONCE):
        assert turns.acquire(blocking=False)
    monkeypatch.setattr("os.getpid", lambda: -1)

    assert verifier.verify(mint()).worker_id == "w-17"
    verifier.close()


async def test_a_worker_without_open_checks_uses_no_memory():
    """Its turns exist from its first open check to the end of the last one."""
    turns = Turns(threading.Semaphore)
    assert turns.join("w-1") is turns.join("w-1")
    turns.leave("w-1")
    assert len(turns) == 1

    turns.leave("w-1")
    assert len(turns) == 0
