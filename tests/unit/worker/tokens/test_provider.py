"""Tokens for the COMMAND: a file that is always complete, and tokens for audiences."""

import asyncio
import stat
import subprocess
import sys

import pytest

from lyftdata.client.held_token import HeldToken
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.command_tokens import token_digest
from lyftdata.worker.client import AudienceRefusedError
from lyftdata.worker.tokens import provider as module
from lyftdata.worker.tokens.provider import MAX_AUDIENCES, NoTokenError, TokenProvider, TokenRequest

# Reads as fast as it can until it sees the last token; counts the tokens, and fails at anything but a complete one.
READER = """
import sys
seen = set()
while "last" not in seen:
    text = open(sys.argv[1]).read()
    assert text == "last" or (len(text) == 2000 and text == text[:4] * 500), text[:50]
    seen.add(text)
print(len(seen))
"""


class Server:
    """A credential that gives tokens for audiences, and counts them."""

    def __init__(self):
        self.asked = []
        self.scopes = []
        self.refusal = None
        self.key = "first"
        self.answering = None

    def version(self):
        """Return which key this is."""
        return self.key

    async def token(self, _credential, *, resource=None, scope=None):
        """Give the next token."""
        self.asked.append(resource)
        self.scopes.append(scope)
        await (self.answering.wait() if self.answering else asyncio.sleep(0))
        if self.refusal:
            raise self.refusal
        return TokenReply(f"for-{len(self.asked)}", 900)


class Now:
    """A clock that the test moves."""

    s = 1000.0

    def __call__(self):
        return self.s


def held(text, life_s=900):
    """Return a token as the agent holds it."""
    return HeldToken(TokenReply(text, life_s), monotonic_s=1000.0, jitter=0.5)


@pytest.fixture
def now():
    """Return the clock."""
    return Now()


@pytest.fixture
def server():
    """Return the Server."""
    return Server()


@pytest.fixture
def provider(tmp_path, now, server):
    """Return a provider with a valid token."""
    made = TokenProvider(server, directory=tmp_path, monotonic=now)
    made.identify(server)
    made.publish(held("current"))
    return made


def test_the_token_file_is_private_and_in_the_environment(provider, tmp_path):
    """With mode 0600, the token and nothing else, at the path in the environment."""
    path = tmp_path / "token"
    assert provider.environ() == {
        "LYFTDATA_WORKER_TOKEN_FILE": str(path),
        "LYFTDATA_WORKER_TOKEN_SOCKET": str(tmp_path / "token.sock"),
    }
    assert path.read_bytes() == b"current"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_token_file_is_replaced_atomically(provider, tmp_path):
    """A reader in a tight loop sees only complete tokens during two thousand renewals."""
    provider.publish(held("0000" * 500))
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path / "token")], stdout=subprocess.PIPE, text=True
    )
    for number in range(2000):
        provider.publish(held(f"{number:04}" * 500))
    provider.publish(held("last"))

    assert reader.communicate(timeout=180)[0].strip() > "1"
    assert reader.returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["token"]


def test_a_token_file_that_cannot_be_written_does_not_stop_the_worker(provider, tmp_path):
    """The old file stays, and the socket has the new token."""
    (tmp_path / ".token.new").mkdir()

    provider.publish(held("next"))

    assert (tmp_path / "token").read_text() == "current"
    assert asyncio.run(provider.token(TokenRequest()))[0] == "next"


async def test_a_token_file_that_could_not_be_written_is_retried(provider, tmp_path, monkeypatch):
    """With the token at that time; after a withdrawal, nothing is written."""
    monkeypatch.setattr(module, "_WRITE_AGAIN_S", 0.01)
    keeping = asyncio.create_task(provider.keep_file())
    (tmp_path / ".token.new").mkdir()
    provider.publish(held("next"))
    provider.publish(held("last"))

    (tmp_path / ".token.new").rmdir()
    async with asyncio.timeout(180):
        while (tmp_path / "token").read_text() != "last":
            await asyncio.sleep(0.01)

    (tmp_path / ".token.new").mkdir()
    provider.publish(held("never"))
    provider.withdraw()
    (tmp_path / ".token.new").rmdir()
    await asyncio.sleep(0.1)
    keeping.cancel()
    assert list(tmp_path.iterdir()) == []


async def test_a_rotated_key_replaces_tokens_for_audiences(provider, server):
    """A token from the old key ends with it: the next caller gets one from the new key."""
    audience = TokenRequest("https://a.example")
    assert [(await provider.token(audience))[0] for _ in range(2)] == ["for-1", "for-1"]
    server.key = "second"

    assert [(await provider.token(audience))[0] for _ in range(2)] == ["for-2", "for-2"]


async def test_after_a_withdrawal_there_is_no_token(provider, tmp_path, server):
    """No file, and no token for any audience."""
    await provider.token(TokenRequest("https://a.example"))
    provider.withdraw()

    assert list(tmp_path.iterdir()) == []
    for audience in (None, "https://a.example"):
        with pytest.raises(NoTokenError):
            await provider.token(TokenRequest(audience))
    assert server.asked == ["https://a.example"]


@pytest.mark.parametrize("let_in_again", [False, True])
async def test_a_token_that_was_withdrawn_during_its_request_is_not_returned(provider, server, let_in_again):
    """If the Worker is disabled while the Server answers, waiting callers get an error."""
    server.answering = asyncio.Event()
    asking = [asyncio.create_task(provider.token(TokenRequest("https://a.example"))) for _ in range(2)]
    while not server.asked:
        await asyncio.sleep(0)

    provider.withdraw()
    if let_in_again:
        provider.publish(held("another"))
    server.answering.set()

    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NoTokenError] * 2


@pytest.mark.parametrize(("passed_s", "left_s"), [(0, 900), (899.5, None), (898.9, 1), (900, None)])
async def test_expires_in_is_the_remaining_lifetime(provider, now, passed_s, left_s):
    """Never rounded up; a token with less than a second left counts as expired."""
    now.s += passed_s
    if left_s is None:
        with pytest.raises(NoTokenError):
            await provider.token(TokenRequest())
    else:
        assert await provider.token(TokenRequest()) == ("current", left_s)


@pytest.mark.parametrize(("passed_s", "requests"), [(599, 1), (600, 2)])
async def test_a_token_for_an_audience_is_reused_for_two_thirds_of_its_life(
    provider, now, server, passed_s, requests
):
    """All callers share one request until then."""
    await provider.token(TokenRequest("https://a.example"))
    now.s += passed_s
    provider.publish(HeldToken(TokenReply("current", 900), monotonic_s=now.s, jitter=0.5))
    await provider.token(TokenRequest("https://a.example"))

    assert server.asked == ["https://a.example"] * requests


async def test_concurrent_callers_share_one_request(provider, server):
    """Ten callers for one audience cause one request to the Server."""
    tokens = await asyncio.gather(*[provider.token(TokenRequest("https://a.example")) for _ in range(10)])

    assert len(set(tokens)) == 1
    assert len(server.asked) == 1


async def test_the_number_of_cached_audiences_is_limited(provider, server):
    """The least recently requested one is evicted first."""
    first, *others = [f"https://{number}.example" for number in range(MAX_AUDIENCES + 1)]
    for audience in (first, *others):
        await provider.token(TokenRequest(audience))
    asked = len(server.asked)

    await provider.token(TokenRequest(others[-1]))
    assert len(server.asked) == asked
    await provider.token(TokenRequest(first))
    assert len(server.asked) == asked + 1


async def test_each_scope_has_its_own_token(provider, server):
    """A token for one scope is not given out for another, nor for all scopes of that audience."""
    audience = "https://a.example"
    asked = [TokenRequest(audience, scope) for scope in (None, "jobs:read", "jobs:write")]

    texts = [(await provider.token(wanted))[0] for wanted in (*asked, *asked)]

    assert texts == ["for-1", "for-2", "for-3"] * 2
    assert server.scopes == [None, "jobs:read", "jobs:write"]


@pytest.mark.parametrize("audience", [None, "https://a.example"])
@pytest.mark.parametrize(("passed_s", "is_replaced"), [(4.9, False), (5, True)])
async def test_a_token_that_a_service_has_rejected_is_replaced(
    provider, now, server, tmp_path, audience, passed_s, is_replaced
):
    """Once, however many callers report it. A new token is not replaced: a service may reject every token."""
    text, _ = await provider.token(TokenRequest(audience))
    before = len(server.asked)
    now.s += passed_s
    report = TokenRequest(audience, rejected=token_digest(text))

    others = {other for other, _ in await asyncio.gather(*[provider.token(report) for _ in range(5)])}

    assert len(server.asked) == before + is_replaced
    assert (others == {text}) is not is_replaced
    assert len(others) == 1
    if audience is None:
        assert (tmp_path / "token").read_text() == next(iter(others))


async def test_a_replacement_that_was_withdrawn_during_its_request_is_not_returned(
    provider, now, server, tmp_path
):
    """If the Worker is disabled meanwhile, neither the file nor the socket has a token."""
    server.answering = asyncio.Event()
    now.s += 10
    asking = asyncio.create_task(provider.token(TokenRequest(rejected=token_digest("current"))))
    while not server.asked:
        await asyncio.sleep(0)

    provider.withdraw()
    server.answering.set()

    with pytest.raises(NoTokenError):
        await asking
    assert list(tmp_path.iterdir()) == []


async def test_a_refused_audience_is_requested_again(provider, server):
    """The refusal is passed on and not cached: it may be remedied at the Server meanwhile."""
    server.refusal = AudienceRefusedError("This Server gives tokens for itself only.")
    with pytest.raises(AudienceRefusedError):
        await provider.token(TokenRequest("https://a.example"))
    server.refusal = None

    assert (await provider.token(TokenRequest("https://a.example")))[0] == "for-2"
