"""A Worker's session with the Server: its token, its polls and its sign-off."""

import asyncio

import pytest
import structlog

from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.backoff import Backoff
from lyftdata.core.records import Strategy
from lyftdata.worker.client import PollReply, ServerUnreachableError, TokenRejectedError
from lyftdata.worker.session import CredentialChangedError, ServerSession

LIFE_S = 900
RENEWED_AFTER_S = 600


class Key:
    """An API key that may be rotated."""

    worker_id = "w-1"
    strategy = Strategy.API_KEY
    signs = False
    fingerprint = ""

    def __init__(self):
        self.rotations = 0

    def version(self):
        """Return which key is in the file."""
        return f"key {self.rotations}"


class Server:
    """Gives tokens, and answers each poll when the test lets it."""

    def __init__(self):
        self.tokens = 0
        self.bodies = []
        self.outcome = PollReply(session="established", hold_s=25)
        self.asked_to_hold_s = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.is_token_endpoint_down = False

    async def token(self, credential, *, waits_for_approval=False):
        """Give the next token."""
        assert waits_for_approval
        if self.is_token_endpoint_down:
            self.answers.set()
            raise ServerUnreachableError("down")
        self.tokens += 1
        return TokenReply(f"token-{self.tokens}", LIFE_S)

    async def poll(self, token, body, *, hold_s):
        """Answer as the test says."""
        self.bodies.append(body | {"token": token})
        self.asked_to_hold_s.append(hold_s)
        await self.answers.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Clock:
    """Seconds that pass when the test says so."""

    now_s = 1_000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    """Return a clock that the test moves."""
    return Clock()


@pytest.fixture
def server():
    """Return a Server."""
    return Server()


@pytest.fixture
def got():
    """Return the list of tokens that the session has passed on."""
    return []


@pytest.fixture
def session(server, clock, got):
    """Return a session that has not started."""
    return ServerSession(
        server,
        labels={"zone": "eu-1", "gpu": ""},
        backoff=Backoff(random=lambda: 0.5),
        on_token=lambda token: got.append(token.text),
        chance=lambda: 0.5,
        monotonic=clock,
    )


async def test_a_token_is_fetched_once_and_renewed_when_due(session, server, clock, got):
    """Each one is passed on, and a discarded one is replaced."""
    key = Key()
    assert [(await session.valid_token(key)).text for _ in range(2)] == ["token-1"] * 2

    clock.now_s += RENEWED_AFTER_S
    assert (await session.valid_token(key)).text == "token-2"

    session.discard_token()
    assert (await session.valid_token(key)).text == "token-3"
    assert got == ["token-1", "token-2", "token-3"]


async def test_a_poll_has_boot_id_labels_and_version(session, server):
    """Every poll of a run has the same boot ID, and the labels in one line; it says whether it waits for a slot."""
    key = Key()
    token = await session.valid_token(key)
    for awaits_slot in (False, True):
        await session.poll(token, key, awaits_slot=awaits_slot)
    await session.sign_off()

    assert [(body["await_slot"], body["sign_off"]) for body in server.bodies] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert {body["labels"] for body in server.bodies} == {"gpu,zone=eu-1"}
    assert {body["host"]["agent_version"] for body in server.bodies} == {session.agent_version}
    (boot_id,) = {body["boot_id"] for body in server.bodies}
    assert len(boot_id) >= 32


@pytest.mark.parametrize(("wanted_s", "next_s"), [(60, 60), (0, 1), (-5, 1), (1e9, 600)])
async def test_the_server_says_how_long_the_next_poll_is_held(session, server, wanted_s, next_s):
    """Within bounds."""
    key = Key()
    token = await session.valid_token(key)
    server.outcome = PollReply(session="established", hold_s=wanted_s)
    for _ in range(2):
        await session.poll(token, key, awaits_slot=False)

    assert server.asked_to_hold_s == [25, next_s]


async def test_polls_that_are_cut_after_the_same_time_ask_for_a_shorter_hold(session, server, clock):
    """As behind a proxy that closes idle connections. After two cuts, a short hold checks that the Server can be reached."""
    key = Key()
    token = await session.valid_token(key)
    answer = PollReply(session="established", hold_s=25)
    cut = ServerUnreachableError("cut", was_cut=True)
    for outcome in (ServerUnreachableError("refused"), cut, cut, answer, cut, answer):
        server.outcome = outcome
        server.answers.clear()
        poll = asyncio.ensure_future(session.poll(token, key, awaits_slot=False))
        await asyncio.sleep(0)
        clock.now_s += 20 if outcome is cut else 1
        server.answers.set()
        await asyncio.gather(poll, return_exceptions=True)

    assert [body["max_hold_s"] for body in server.bodies] == [None, None, None, 1.0, None, 15.0]


async def test_a_rotated_key_ends_a_held_poll(session, server, monkeypatch):
    """So that the session gets a token with the new key, whatever happens to the old one."""
    monkeypatch.setattr("lyftdata.worker.session._LOOK_EVERY_S", 0.001)
    key = Key()
    token = await session.valid_token(key)
    assert session.was_asked_by(key)
    server.answers.clear()
    key.rotations += 1

    with pytest.raises(CredentialChangedError):
        await session.poll(token, key, awaits_slot=False)

    assert not session.was_asked_by(key)
    session.discard_token()
    with structlog.testing.capture_logs() as logged:
        await session.valid_token(key)
    assert [line["event"] for line in logged] == ["api_key_changed"]
    assert session.was_asked_by(key)


async def test_a_rotated_key_is_noticed_between_short_polls(session, server):
    """Polls that a proxy cuts soon are held too briefly to look for another key."""
    key = Key()
    first = await session.valid_token(key)
    await session.poll(first, key, awaits_slot=False)
    key.rotations += 1

    with structlog.testing.capture_logs() as logged:
        second = await session.valid_token(key)

    assert [line["event"] for line in logged] == ["api_key_changed"]
    assert second.text != first.text
    assert await session.valid_token(key) is second


async def test_a_token_that_cannot_be_renewed_does_not_end_a_held_poll(session, server, clock, monkeypatch):
    """The old token is used until it expires; the poll's answer counts."""
    monkeypatch.setattr("lyftdata.worker.session._LOOK_EVERY_S", 0.001)
    key = Key()
    token = await session.valid_token(key)
    clock.now_s += RENEWED_AFTER_S - 0.001
    server.answers.clear()
    server.is_token_endpoint_down = True

    reply = await session.poll(token, key, awaits_slot=False)

    assert reply.session == "established"
    assert server.tokens == 1


async def test_a_session_without_a_token_needs_no_sign_off(session, server):
    """The Server does not know it."""
    assert await session.sign_off() is None
    assert server.bodies == []


async def test_a_rejected_sign_off_is_raised(session, server):
    """The agent decides what to do."""
    await session.valid_token(Key())
    server.outcome = TokenRejectedError(reference="7K2M9QXD")

    with pytest.raises(TokenRejectedError):
        await session.sign_off()
