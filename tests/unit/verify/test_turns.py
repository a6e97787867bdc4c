"""How many questions about one Worker a verifier asks the Server at once, and what becomes of those that wait."""

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
    """A Server that is asked about many tokens and answers once it is told to."""

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
        """Return a verifier that asks this Server."""
        self.world.options["transport"] = httpx2.MockTransport(self)
        return self.world.async_verifier()


async def test_the_requests_of_one_worker_delay_no_other():
    """Of a disabled Worker that floods a service, a third of the connections are used; each of its requests is refused, none admitted."""
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
async def test_who_waits_too_long_for_a_turn_is_refused_even_where_outages_admit(monkeypatch, is_async):
    """Otherwise a disabled Worker could make the outage itself, by as many requests as it takes."""
    world = World(online=True, online_fail_open=True)
    verifier = world.async_verifier() if is_async else world.verifier()

    async def verify(token: str) -> None:
        if isinstance(verifier, AsyncWorkerVerifier):
            await verifier.verify(token)
        else:
            await asyncio.to_thread(verifier.verify, token)

    # Fetches the keys, for which there is time.
    await verify(mint(jti="first"))
    monkeypatch.setattr(_turns, "MAX_AT_ONCE", 0)
    monkeypatch.setattr(verifier, "_endpoint", msgspec.structs.replace(verifier._endpoint, timeout_s=0.01))

    with pytest.raises(OnlineCheckUnavailableError):
        await verify(mint(jti="second"))

    assert world.server.checks == 1


def test_a_child_process_waits_for_no_thread_of_its_parent(monkeypatch):
    """After a fork the threads that hold the turns are in the parent alone."""
    verifier = World(online=True).verifier()
    turns = verifier._turns_here().join("w-17")
    for _ in range(MAX_AT_ONCE):
        assert turns.acquire(blocking=False)
    monkeypatch.setattr("os.getpid", lambda: -1)

    assert verifier.verify(mint()).worker_id == "w-17"
    verifier.close()


async def test_a_worker_without_open_questions_takes_no_memory():
    """It is known from its first open question to the end of its last one."""
    turns = Turns(threading.Semaphore)
    assert turns.join("w-1") is turns.join("w-1")
    turns.leave("w-1")
    assert len(turns) == 1

    turns.leave("w-1")
    assert len(turns) == 0
