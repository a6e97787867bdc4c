"""Clients on an agent's host: they get tokens from its socket or file, and need no credential."""

import asyncio
import contextlib
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lyftdata.client import TokenKeeper, TokenRefusedError, TokenUnavailableError, WorkerAuth
from lyftdata.client.held_token import HeldToken
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.command_tokens import TOKEN_FILE_VARIABLE, TOKEN_SOCKET_VARIABLE
from lyftdata.core.errors import SettingsError
from lyftdata.worker.client import (
    AudienceRefusedError,
    RefusedByServerError,
    ServerUnreachableError,
)
from lyftdata.worker.tokens.provider import TokenProvider
from lyftdata.worker.tokens.socket import TokenSocket


class Clock:
    """A clock that agent and client share; it stands still until a test moves it."""

    s = 1000.0

    def __call__(self):
        return self.s


class Server:
    """The Server as the agent sees it: gives tokens, or raises."""

    def __init__(self):
        self.asked = []
        self.refusal = None
        self.key = "first"

    def version(self):
        """Return which key this is."""
        return self.key

    async def token(self, _credential, *, resource=None, scope=None):
        """Give the next token."""
        self.asked.append((resource, scope))
        if self.refusal:
            raise self.refusal
        return TokenReply(f"t{len(self.asked)}", 900)


class Running:
    """An agent's token socket and token file, with the client of a program that it runs."""

    def __init__(self, directory, provider, server, clock, *, is_async):
        self.path = directory / "token.sock"
        self.provider = provider
        self.server = server
        self.clock = clock
        self._is_async = is_async
        # As an agent sets up its program's environment: the Worker's ID, but no key.
        self.environ = {"LYFTDATA_WORKER_ID": "w-17", **provider.environ()}

    def tokens(self, **options):
        """Return the program's token keeper."""
        return TokenKeeper.from_environment(self.environ, monotonic=self.clock, chance=lambda: 0.5, **options)

    async def get(self, tokens):
        """Get a token, in a thread or on the event loop."""
        return await (tokens.aget() if self._is_async else asyncio.to_thread(tokens.get))

    async def get_another(self, tokens, rejected):
        """Get another token, in a thread or on the event loop."""
        if self._is_async:
            return await tokens.aget_another(rejected)
        return await asyncio.to_thread(tokens.get_another, rejected)


@pytest.fixture(params=["threads", "event loop"])
async def agent(request):
    """Serve the socket of an agent that is online, and write its file."""
    clock: Any = Clock()
    server: Any = Server()
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as directory:
        provider = TokenProvider(server, directory=Path(directory), monotonic=clock)
        provider.identify(server)
        provider.publish(HeldToken(TokenReply("own", 900), monotonic_s=clock.s, jitter=0.5))
        running = Running(Path(directory), provider, server, clock, is_async=request.param == "event loop")
        async with TokenSocket(provider).serving(running.path):
            yield running


async def test_the_client_gets_the_agents_own_token(agent):
    """With only the variables that the agent sets, and without a request to the Server."""
    assert await agent.get(agent.tokens()) == "own"
    assert agent.server.asked == []


async def test_resource_and_scope_reach_the_server(agent):
    """For a token for a service, with the requested scopes."""
    tokens = agent.tokens(resource="https://files.example", scope="jobs:read jobs:write")

    assert [await agent.get(tokens) for _ in range(3)] == ["t1"] * 3
    assert agent.server.asked == [("https://files.example", "jobs:read jobs:write")]


@pytest.mark.parametrize(("passed_s", "token"), [(599, "own"), (600, "next")])
async def test_a_token_is_renewed_at_two_thirds_of_its_life(agent, passed_s, token):
    """The agent has the next one by then."""
    tokens = agent.tokens()
    await agent.get(tokens)
    agent.provider.publish(HeldToken(TokenReply("next", 900), monotonic_s=agent.clock.s + 600, jitter=0.5))
    agent.clock.s += passed_s
    await agent.get(tokens)
    await settled(tokens)

    assert await agent.get(tokens) == token


async def settled(tokens):
    """Wait for a background renewal."""
    if tokens._task is not None:
        await asyncio.wait([tokens._task])


async def test_a_rejected_token_is_replaced_once(agent):
    """After a 401 the agent gets another one from the Server; a new token is not replaced again."""
    tokens = agent.tokens(resource="https://files.example")
    first = await agent.get(tokens)
    agent.clock.s += 10

    second = await agent.get_another(tokens, first)
    assert (first, second) == ("t1", "t2")
    assert await agent.get_another(tokens, second) is None
    assert await agent.get(tokens) == second
    assert len(agent.server.asked) == 2


async def test_processes_share_the_replacement(agent):
    """Several programs that report the same token cause one request to the Server."""
    programs = [agent.tokens() for _ in range(3)]
    for tokens in programs:
        await agent.get(tokens)
    agent.clock.s += 10

    assert [await agent.get_another(tokens, "own") for tokens in programs] == ["t1"] * 3
    assert len(agent.server.asked) == 1


@pytest.mark.parametrize(
    ("refusal", "error", "expected", "final"),
    [
        (
            AudienceRefusedError("Not for it.", reference="7K2M9QXD", remedy="Let it."),
            TokenRefusedError,
            r"7K2M9QXD: Not for it\. Let it\.",
            True,
        ),
        (
            AudienceRefusedError("No such scope.", error="invalid_scope"),
            TokenRefusedError,
            r"No such scope\.",
            True,
        ),
        (
            RefusedByServerError("Disabled.", reference="7K2M9QXD"),
            TokenRefusedError,
            "7K2M9QXD: Disabled",
            False,
        ),
        (ServerUnreachableError("Down."), TokenUnavailableError, "Down", None),
    ],
    ids=["target", "scope", "refused", "down"],
)
async def test_a_refusal_reaches_the_program(agent, refusal, error, expected, final):
    """With the Server's text, the reference that an operator needs, and the remedy."""
    agent.server.refusal = refusal
    with pytest.raises(error, match=expected) as failed:
        await agent.get(agent.tokens(resource="https://files.example"))

    assert getattr(failed.value, "final", None) is final


async def test_a_refused_worker_has_no_token(agent):
    """Its program gets an error that says so, and a token again a few seconds after the agent does."""
    agent.provider.withdraw()
    tokens = agent.tokens()
    for _ in range(9):
        with pytest.raises(TokenUnavailableError, match="no token at the moment"):
            await agent.get(tokens)
        agent.clock.s += 5
    agent.provider.publish(HeldToken(TokenReply("again", 900), monotonic_s=agent.clock.s, jitter=0.5))

    assert await agent.get(tokens) == "again"


# --- the file -------------------------------------------------------------------------------------------


async def test_the_token_file_is_used_if_there_is_no_socket(agent):
    """It is read again regularly, so an old token is not used."""
    del agent.environ[TOKEN_SOCKET_VARIABLE]
    tokens = agent.tokens()
    assert await agent.get(tokens) == "own"
    agent.provider.publish(HeldToken(TokenReply("next", 900), monotonic_s=agent.clock.s, jitter=0.5))
    agent.clock.s += 5

    assert await agent.get(tokens) == "next"


async def test_after_a_401_the_file_is_read_at_once(agent):
    """It may have a new token; if it still has the rejected one, there is no other."""
    del agent.environ[TOKEN_SOCKET_VARIABLE]
    tokens = agent.tokens()
    await agent.get(tokens)
    assert await agent.get_another(tokens, "own") is None
    agent.provider.publish(HeldToken(TokenReply("next", 900), monotonic_s=agent.clock.s, jitter=0.5))

    assert await agent.get_another(tokens, "own") == "next"


async def test_a_missing_token_file_is_named(agent):
    """The agent removes it while the Worker is refused: the error has the variable and the remedy."""
    del agent.environ[TOKEN_SOCKET_VARIABLE]
    agent.provider.withdraw()

    with pytest.raises(
        TokenUnavailableError, match=rf"{TOKEN_FILE_VARIABLE}: .*token cannot be read.*run worker"
    ):
        await agent.get(agent.tokens())


@pytest.mark.parametrize("content", [b"", b"two words", b"a\r\nX: y", b"\xff", b"x" * 20_000])
async def test_a_file_without_a_token_is_not_sent(agent, tmp_path, content):
    """Its content does not get into a header, and the error does not quote it."""
    (tmp_path / "junk").write_bytes(content)
    agent.environ = {TOKEN_FILE_VARIABLE: str(tmp_path / "junk")}

    with pytest.raises(TokenUnavailableError, match="holds no token") as failed:
        await agent.get(agent.tokens())
    assert "words" not in str(failed.value)


@pytest.mark.parametrize("wanted", [{"resource": "https://files.example"}, {"scope": "jobs:read"}], ids=str)
def test_the_file_is_not_used_for_another_audience(wanted):
    """It has the token for the Server, which must not go to a service. The error names the socket instead."""
    with pytest.raises(
        SettingsError, match=rf"{TOKEN_FILE_VARIABLE}.*{next(iter(wanted))}=.*{TOKEN_SOCKET_VARIABLE}"
    ):
        TokenKeeper.from_environment({TOKEN_FILE_VARIABLE: "/run/token"}, **wanted)


# --- errors ---------------------------------------------------------------------------------------------


async def test_a_socket_without_an_agent_is_named(agent):
    """If the variable outlived its agent, the error names it and the remedy."""
    agent.environ[TOKEN_SOCKET_VARIABLE] = "/none/there.sock"

    with pytest.raises(
        TokenUnavailableError,
        match=rf"{TOKEN_SOCKET_VARIABLE}: .*/none/there\.sock.*unset {TOKEN_SOCKET_VARIABLE}",
    ):
        await agent.get(agent.tokens())


async def test_another_program_at_the_socket_is_not_taken_for_an_agent(agent):
    """Its answer is not JSON."""
    path = agent.path.with_name("other.sock")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        answering = asyncio.create_task(asyncio.to_thread(answer))
        agent.environ[TOKEN_SOCKET_VARIABLE] = str(path)
        with pytest.raises(TokenUnavailableError, match="not a Worker's agent"):
            await agent.get(agent.tokens())
        await answering


@pytest.mark.parametrize("empty", [TOKEN_SOCKET_VARIABLE, TOKEN_FILE_VARIABLE])
def test_an_empty_variable_counts_as_unset(tmp_path, empty):
    """Then the Worker's own credential is used."""
    with pytest.raises(SettingsError, match="no API key"):
        TokenKeeper.from_environment({empty: "", "LYFTDATA_JOBS_DIR": str(tmp_path)})


async def test_an_auth_prefers_the_agent(agent):
    """Even if there is a credential in the environment as well."""
    agent.environ["LYFTDATA_WORKER_API_KEY"] = "lyftdata_key"
    auth = WorkerAuth.from_environment(
        origins=["https://files.example"], environ=agent.environ, monotonic=agent.clock
    )

    assert await agent.get(auth.tokens) == "own"
