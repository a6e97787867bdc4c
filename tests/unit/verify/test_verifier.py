"""The verifiers: cached keys, remembered tokens, and how rarely they ask the Server."""

import asyncio
import gzip
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from tests.builders import ISSUER, case
from tests.processes import until
from tests.unit.verify.peer import (
    AUDIENCE,
    ED25519,
    ES256,
    OTHER_KEY,
    World,
    jwks_of,
    mint,
    resigned,
    settle,
)

import lyftdata.verify
from lyftdata.client import TokenKeeper
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.keyring import generate_signing_key
from lyftdata.verify import (
    AsyncWorkerVerifier,
    InsufficientScopeError,
    KeysUnavailableError,
    OnlineCheckUnavailableError,
    TokenExpiredError,
    TokenMalformedError,
    TokenRevokedError,
    UnknownKeyError,
    VerificationError,
    WorkerVerifier,
    errors,
)
from lyftdata.verify._keys import read_jwks
from lyftdata.verify._threads import _KeyFetch


class Subject:
    """Either kind of verifier, with the same interface."""

    def __init__(self, verifier):
        self.verifier = verifier

    async def verify(self, token, **how):
        """Verify; then wait for a background fetch."""
        if isinstance(self.verifier, WorkerVerifier):
            try:
                return await asyncio.to_thread(self.verifier.verify, token, **how)
            finally:
                await asyncio.to_thread(settle, self.verifier)
        try:
            return await self.verifier.verify(token, **how)
        finally:
            if self.verifier._key_fetch is not None:
                await asyncio.wait([self.verifier._key_fetch])

    async def code(self, token, **how):
        """Return the code of the refusal, or None."""
        try:
            await self.verify(token, **how)
        except VerificationError as error:
            return error.code
        return None

    async def close(self):
        """Close its connections."""
        if isinstance(self.verifier, WorkerVerifier):
            self.verifier.close()
        else:
            await self.verifier.aclose()


@pytest.fixture(params=["threads", "event loop"])
async def subject_in(request):
    """Return a function that makes a verifier of either kind in a world."""
    made = []

    def make(world):
        subject = Subject(world.verifier() if request.param == "threads" else world.async_verifier())
        made.append(subject)
        return subject

    yield make
    for subject in made:
        await subject.close()


# --- keys -----------------------------------------------------------------------------------------------


async def test_the_keys_are_fetched_once_and_cached(subject_in):
    """The first token needs a fetch; those that follow need none."""
    world = World()
    subject = subject_in(world)

    for number in range(5):
        assert (await subject.verify(mint(jti=f"j{number}"))).worker_id == "w-17"

    assert world.server.fetches == 1


async def test_keys_are_refreshed_in_the_background_at_half_their_age(subject_in):
    """At half of `max-age` a call starts a fetch and does not wait for it."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())

    world.clock.forward(149)
    await subject.verify(mint())
    assert world.server.fetches == 1
    world.clock.forward(1)
    await subject.verify(mint())
    assert world.server.fetches == 2
    await subject.verify(mint())
    assert world.server.fetches == 2


async def test_a_rotated_key_is_accepted_without_a_restart(subject_in):
    """An unknown `kid` is looked up, so a token under a newly published key is accepted immediately."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())
    new = generate_signing_key("ES256")
    world.server.keys = [new, ES256]
    world.clock.forward(11)

    assert await subject.verify(mint(new))
    assert await subject.verify(mint(ES256))
    assert world.server.fetches == 2


@pytest.mark.parametrize("remembered", [True, False])
async def test_tokens_of_a_removed_key_are_refused_after_max_age(subject_in, remembered):
    """At the latest `max-age` after the key left the JWKS, whether they were seen before or not."""
    world = World()
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)
    world.server.keys = [ED25519]

    world.clock.forward(300)
    assert await subject.code(token if remembered else mint()) == "unknown_key"


async def test_a_key_replaced_under_the_same_kid_does_not_verify_old_tokens(subject_in):
    """A remembered token belongs to the key itself, not to its `kid`."""
    world = World()
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)
    jwk = OTHER_KEY.public_jwk() | {"kid": ES256.kid}
    world.server.responses["/.well-known/jwks.json"] = httpx2.Response(200, json={"keys": [jwk]})

    world.clock.forward(300)
    assert await subject.code(token) == "token_signature"


async def test_an_outage_of_the_server_is_not_an_outage_of_the_service(subject_in):
    """With cached keys, tokens are still verified while the Server is down, until the grace period ends."""
    world = World(outage_grace_s=3600)
    subject = subject_in(world)
    await subject.verify(mint())
    world.server.up = False

    for _ in range(12):
        world.clock.forward(60)
        assert await subject.code(mint(jti="j")) is None
    world.clock.forward(3600 + 300 - 12 * 60 - 1)
    assert await subject.code(mint(ttl_s=9000)) is None
    world.clock.forward(1)
    with pytest.raises(KeysUnavailableError):
        await subject.verify(mint(ttl_s=9000))
    world.server.up = True
    world.clock.forward(30)
    assert await subject.code(mint(ttl_s=9000)) is None


async def test_the_outage_grace_may_be_zero(subject_in):
    """With `outage_grace_s=0`, only fresh keys are used."""
    world = World(outage_grace_s=0)
    subject = subject_in(world)
    await subject.verify(mint())
    world.server.up = False

    world.clock.forward(299)
    assert await subject.code(mint()) is None
    world.clock.forward(1)
    assert await subject.code(mint()) == "keys_unavailable"


async def test_without_keys_the_answer_is_keys_unavailable(subject_in):
    """A service that starts while the Server is down retries with backoff, and recovers."""
    world = World()
    subject = subject_in(world)
    world.server.up = False

    for _ in range(20):
        assert await subject.code(mint()) == "keys_unavailable"
    assert world.server.fetches == 1
    for wait_s in (1, 2, 4, 8, 16, 30, 30):
        world.clock.forward(wait_s - 0.5)
        assert await subject.code(mint()) == "keys_unavailable"
        world.clock.forward(0.5)
        assert await subject.code(mint()) == "keys_unavailable"
    assert world.server.fetches == 8
    world.server.up = True
    world.clock.forward(30)
    assert await subject.code(mint()) is None


@pytest.mark.parametrize("is_up", [True, False])
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "NoneType"),
        (b"a.b.c", "bytes"),
        ("", "empty"),
        ("Bearer abc", "scheme"),
        (f"bearer {mint()}", "scheme"),
        ("abc", "compact JWS"),
    ],
)
async def test_a_malformed_token_is_rejected_without_asking_the_server(subject_in, given, problem, is_up):
    """A caller's mistake is not reported as an outage of the Server, and causes no request to it."""
    world = World()
    world.server.up = is_up
    subject = subject_in(world)

    with pytest.raises(TokenMalformedError) as refused:
        await subject.verify(given)

    assert problem in refused.value.message
    assert world.server.asked.total() == 0
    if is_up:
        await subject.verify(mint())
        assert await subject.code(given) == "token_malformed"


async def test_a_flood_of_made_up_kids_causes_one_fetch_in_ten_seconds(subject_in):
    """The Server is asked at most once in `kid_retry_s`, however many keys unknown callers make up."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())

    for _ in range(3):
        world.clock.forward(10)
        flood = [resigned(mint(), header={"kid": f"made-up-{number}"}) for number in range(50)]
        codes = await asyncio.gather(*(subject.code(token) for token in flood))
        # Only a few threads wait for the answer; the others get `keys_unavailable`.
        assert "unknown_key" in codes
        assert set(codes) <= {"unknown_key", "keys_unavailable"}

    assert world.server.fetches == 1 + 3


async def test_a_flood_does_not_affect_valid_tokens(subject_in):
    """During it, tokens under known keys are accepted."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())

    for number in range(50):
        await subject.code(resigned(mint(), header={"kid": f"made-up-{number}"}))
        assert await subject.code(mint(jti=f"j{number}")) is None
    # The first fetch was less than kid_retry_s ago, so none of them caused another.
    assert world.server.fetches == 1


async def test_tokens_for_others_cause_no_fetch(subject_in):
    """Another Server's token, or one for another service, is refused without fetching its key."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())
    world.clock.forward(11)

    assert await subject.code(mint(OTHER_KEY, issuer="https://other.example")) == "unknown_key"
    assert await subject.code(mint(OTHER_KEY, audience="https://other.example")) == "unknown_key"
    assert world.server.fetches == 1
    assert await subject.code(mint(OTHER_KEY)) == "unknown_key"
    assert world.server.fetches == 2


async def test_an_unknown_key_during_an_outage_is_not_an_invalid_token(subject_in):
    """While the Server is down, a new key cannot be distinguished from a made-up one, so the Worker keeps its token."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())
    world.server.up = False
    world.clock.forward(11)

    assert await subject.code(mint(OTHER_KEY)) == "keys_unavailable"
    assert await subject.code(mint()) is None


JWKS_URI = f"{ISSUER}/.well-known/jwks.json"
GZIPPED = httpx2.Response(
    200, content=gzip.compress(jwks_of(ES256.public_jwk())), headers={"Content-Encoding": "gzip"}
)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("jwks.json", httpx2.Response(302, headers={"Location": "https://evil.example/jwks"})),
        ("jwks.json", httpx2.Response(500)),
        ("jwks.json", httpx2.Response(200, content=jwks_of(ES256.public_jwk()) + b" " * 65_536)),
        ("jwks.json", httpx2.Response(200, content=b"{}")),
        ("jwks.json", GZIPPED),
        ("oauth-authorization-server", httpx2.Response(301, headers={"Location": "https://evil.example"})),
        ("oauth-authorization-server", httpx2.Response(200, json={"issuer": ISSUER})),
        (
            "oauth-authorization-server",
            httpx2.Response(200, json={"issuer": "https://evil.example", "jwks_uri": JWKS_URI}),
        ),
        (
            "oauth-authorization-server",
            httpx2.Response(
                200, json={"issuer": ISSUER, "jwks_uri": "https://evil.example/.well-known/jwks.json"}
            ),
        ),
        (
            "oauth-authorization-server",
            httpx2.Response(
                200, json={"issuer": ISSUER, "jwks_uri": "http://lyft.example/.well-known/jwks.json"}
            ),
        ),
    ],
    ids=str,
)
async def test_unexpected_answers_are_not_accepted_as_keys(subject_in, path, answer):
    """A redirect, another issuer or address, an answer that is too large or of another kind."""
    world = World()
    world.server.responses[f"/.well-known/{path}"] = answer

    assert await subject_in(world).code(mint()) == "keys_unavailable"


async def test_the_server_may_be_reached_at_another_address(subject_in):
    """Inside a cluster keys are fetched from `server_url`, while tokens must have the issuer."""
    world = World(server_url="http://127.0.0.1:3000")
    asked: list[str] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return world.server(request)

    world.options["transport"] = httpx2.MockTransport(note)

    assert await subject_in(world).code(mint()) is None
    assert asked == [
        "http://127.0.0.1:3000/.well-known/oauth-authorization-server",
        "http://127.0.0.1:3000/.well-known/jwks.json",
    ]


def test_threads_share_one_fetch():
    """Many threads that need keys at once cause one fetch, and all get its result."""
    world = World()
    started, go = threading.Event(), threading.Event()
    answer = world.server.__call__

    def slow(request):
        started.set()
        assert go.wait(180)
        return answer(request)

    world.options["transport"] = httpx2.MockTransport(slow)
    verifier = world.verifier()
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(verifier.verify, mint(jti=f"j{number}")) for number in range(8)]
        assert started.wait(180)
        go.set()
        assert {job.result(180).worker_id for job in jobs} == {"w-17"}
    assert world.server.fetches == 1


def test_made_up_keys_cannot_block_every_thread():
    """While the Server hangs, at most two threads wait for an unknown key; tokens under known keys do not wait."""
    world = World()
    verifier = world.verifier()
    verifier.verify(mint())
    settle(verifier)
    started, go = threading.Event(), threading.Event()

    def hanging(request):
        started.set()
        assert go.wait(180)
        return world.server(request)

    verifier._transport = httpx2.MockTransport(hanging)
    world.clock.forward(11)
    with ThreadPoolExecutor(2) as pool:
        stuck = [pool.submit(verifier.verify, mint(OTHER_KEY, jti=f"j{number}")) for number in range(2)]
        assert started.wait(180)
        until(lambda: not verifier._waiting._value, "both to wait")
        with pytest.raises(KeysUnavailableError):
            verifier.verify(mint(OTHER_KEY))
        assert verifier.verify(mint(jti="known")).worker_id == "w-17"
        go.set()
        assert {type(job.exception(10)) for job in stuck} == {UnknownKeyError}


async def test_a_cancelled_caller_does_not_cancel_the_shared_fetch():
    """The others still get its result."""
    world = World()
    go = asyncio.Event()

    async def slow(request):
        await go.wait()
        return world.server(request)

    world.options["transport"] = httpx2.MockTransport(slow)
    verifier = world.async_verifier()
    first, second = (asyncio.create_task(verifier.verify(mint(jti=jti))) for jti in "ab")
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()

    assert (await second).worker_id == "w-17"
    assert first.cancelled()
    assert world.server.fetches == 1


def test_an_async_verifier_may_be_used_in_several_loops_in_turn():
    """One that is made at import time works in whichever loop runs, as in tests and scripts."""
    world = World(online=True)
    verifier = world.async_verifier()

    for number in range(3):
        world.clock.forward(400)
        token = mint(jti=f"j{number}", ttl_s=9000)
        assert asyncio.run(verifier.verify(token)).worker_id == "w-17"


def test_a_forked_process_starts_its_own_fetch(monkeypatch):
    """After a fork during a fetch, the child has the fetch's state but not its thread."""
    from lyftdata.verify._threads import _KeyFetch

    world = World()
    verifier = world.verifier()
    monkeypatch.setattr("os.getpid", lambda: 1)
    verifier._key_fetch = _KeyFetch(world.clock.steady_s)
    monkeypatch.undo()

    assert verifier.verify(mint()).worker_id == "w-17"


def test_a_bug_in_a_fetch_is_an_outage_and_not_a_hang():
    """Callers get an answer, whatever goes wrong in a fetch."""
    world = World()

    def broken(_request):
        message = "surprise"
        raise ZeroDivisionError(message)

    world.options["transport"] = httpx2.MockTransport(broken)

    with pytest.raises(KeysUnavailableError, match="surprise"):
        world.verifier().verify(mint())


# --- memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds_left", "code"), [(1, None), (0, "token_expired"), (-1, "token_expired")])
async def test_a_remembered_token_expires_too(subject_in, seconds_left, code):
    """At its `exp`, like any other."""
    world = World()
    subject = subject_in(world)
    token = mint()
    assert await subject.code(token) is None
    world.clock.forward(900 - seconds_left)

    assert await subject.code(token) == code


async def test_the_signature_of_a_remembered_token_is_checked_once(subject_in, monkeypatch):
    """Later calls return the same identity."""
    world = World()
    subject = subject_in(world)
    token = mint()
    first = await subject.verify(token)
    monkeypatch.setattr("lyftdata.verify._rules.UnverifiedJws.check_signature", None)

    assert await subject.verify(token) is first
    # Fetching the same keys again does not cause another check.
    world.clock.forward(400)
    assert await subject.verify(token) is first
    assert world.server.fetches == 2


async def test_the_number_of_remembered_tokens_is_limited(subject_in):
    """The least recently used are forgotten first."""
    world = World(remember=3)
    subject = subject_in(world)
    tokens = [mint(jti=f"j{number}") for number in range(4)]
    for token in (*tokens[:3], tokens[0], tokens[3]):
        await subject.verify(token)

    from lyftdata.verify._memory import token_digest

    kept = set(subject.verifier._memory._entries)
    assert kept == {token_digest(tokens[number]) for number in (0, 2, 3)}


def test_tokens_are_remembered_by_their_digest():
    """What is in memory cannot be used as a token."""
    world = World()
    verifier = world.verifier()
    verifier.verify(token := mint())

    (digest,) = verifier._memory._entries
    assert token.encode() not in digest
    assert len(digest) == 32


async def test_a_refused_token_is_not_remembered(subject_in):
    """Unknown callers cannot fill the memory."""
    world = World()
    subject = subject_in(world)
    await subject.code(mint(audience="https://other.example"))
    await subject.code(resigned(mint(), signer=OTHER_KEY))

    assert len(subject.verifier._memory) == 0


# --- scopes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "needed", "missing"),
    [
        ("a b", {"a", "b"}, None),
        ("a b", set(), None),
        ("a", {"a", "b"}, ("b",)),
        ("", {"a"}, ("a",)),
        ("ab", {"a"}, ("a",)),
        ("A", {"a"}, ("a",)),
    ],
)
async def test_every_required_scope_must_be_granted(subject_in, granted, needed, missing):
    """Whether the token is remembered or not."""
    subject = subject_in(World())
    token = resigned(mint(), claims={"scope": granted})
    await subject.verify(token)

    if missing is None:
        await subject.verify(token, scopes=needed)
    else:
        with pytest.raises(InsufficientScopeError) as refused:
            await subject.verify(token, scopes=needed)
        assert refused.value.missing == missing
        assert refused.value.status == 403


# --- the online check -----------------------------------------------------------------------------------


async def test_verification_is_offline_by_default(subject_in):
    """The Server is asked about a token only if the service wants that."""
    world = World()
    await subject_in(world).verify(mint())

    assert world.server.checks == 0


async def test_an_online_check_refuses_a_revoked_worker_at_once(subject_in):
    """The Server is asked for each request, so its answer counts from the next one on."""
    world = World(online=True)
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)
    world.server.revoked.add(token)

    with pytest.raises(TokenRevokedError):
        await subject.verify(token)
    world.server.revoked.clear()
    await subject.verify(token)
    assert world.server.checks == 3


@pytest.mark.parametrize(("after_s", "code"), [(4, None), (5, "token_revoked")])
async def test_the_online_result_may_be_cached(subject_in, after_s, code):
    """With `online_cache_s`, a positive result is valid for exactly that long."""
    world = World(online=True, online_cache_s=5)
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)
    world.server.revoked.add(token)
    world.clock.forward(after_s)

    assert await subject.code(token) == code


async def test_a_cached_result_ages_while_keys_are_fetched(subject_in):
    """`online_cache_s` counts until the Worker is admitted, not until the request arrived."""
    world = World(online=True, online_cache_s=33)
    world.server.cache_control = "max-age=30"
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)

    def slow(request):
        if request.url.path == "/.well-known/jwks.json":
            world.clock.forward(4)
        return world.server(request)

    subject.verifier._transport = httpx2.MockTransport(slow)
    world.server.revoked.add(token)
    world.clock.forward(31)

    assert await subject.code(token) == "token_revoked"


async def test_an_online_check_fails_closed_by_default(subject_in):
    """If the Server cannot be asked, the token is refused as "cannot check now", not as revoked."""
    world = World(online=True)
    subject = subject_in(world)
    await subject.verify(mint())
    world.server.up = False

    with pytest.raises(OnlineCheckUnavailableError):
        await subject.verify(mint())
    world.server.up = True
    assert await subject.code(mint()) is None


async def test_with_fail_open_the_offline_check_decides_in_an_outage(subject_in):
    """After a failed request, the Server is not asked again for two seconds."""
    world = World(online=True, online_fail_open=True)
    subject = subject_in(world)
    await subject.verify(mint())
    world.server.up = False
    for _ in range(10):
        assert await subject.code(mint()) is None
    assert world.server.checks == 2
    assert await subject.code(mint(audience="https://other.example")) == "wrong_audience"

    world.server.up = True
    world.server.revoked.add(mint_ := mint(jti="gone"))
    world.clock.forward(1.9)
    assert await subject.code(mint_) is None
    world.clock.forward(0.1)
    assert await subject.code(mint_) == "token_revoked"


NO_ANSWERS = [
    httpx2.Response(204),
    httpx2.Response(204, headers={"X-Lyftdata-Worker-Id": "w-18"}),
    httpx2.Response(200, headers={"X-Lyftdata-Worker-Id": "w-17"}),
    httpx2.Response(200, content=b"<html>"),
    httpx2.Response(200, json={"active": True}),
    httpx2.Response(200, json={"active": True, "sub": "w-18", "jti": "j1"}),
    httpx2.Response(200, json={"active": True, "sub": "w-17", "jti": "j2"}),
    httpx2.Response(200, json={"active": "yes", "sub": "w-17", "jti": "j1"}),
    httpx2.Response(302, headers={"Location": "https://evil.example"}),
    httpx2.Response(403),
    httpx2.Response(429),
    httpx2.Response(503),
]


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=case)
@pytest.mark.parametrize("audience", [AUDIENCE, ISSUER])
async def test_only_the_servers_own_positive_answer_counts(subject_in, answer, audience):
    """An answer of a proxy or portal, or about another Worker or token, counts as an outage."""
    world = World(online=True, audience=audience)
    world.server.responses = {"/auth/verify": answer, "/oauth2/introspect": answer}

    assert await subject_in(world).code(mint(audience=audience)) == "online_check_unavailable"


async def test_a_token_for_the_server_itself_is_checked_at_auth_verify(subject_in):
    """If the audience is the Server, the token itself is sent to `/auth/verify`, and no resource key is needed."""
    world = World(online=True, audience=ISSUER, resource_name=None, resource_key=None)
    subject = subject_in(world)
    token = mint(audience=ISSUER)
    assert await subject.code(token) is None
    world.server.revoked.add(token)

    assert await subject.code(token) == "token_revoked"
    assert world.server.asked["/auth/verify"] == 2


async def test_an_online_check_drops_revoked_scopes(subject_in):
    """A Worker has the scopes that are both in its token and in the Server's answer, also while that is cached."""
    world = World(online=True, online_cache_s=5)
    subject = subject_in(world)
    token = resigned(mint(), claims={"scope": "read write"})
    world.server.described = {"scope": "read admin"}

    for _ in range(2):
        assert (await subject.verify(token)).scopes == {"read"}
        assert await subject.code(token, scopes=["write"]) == "insufficient_scope"
    world.server.described = {}
    world.clock.forward(5)
    assert (await subject.verify(token)).scopes == {"read", "write"}


async def test_a_wrong_resource_key_is_not_an_invalid_token(subject_in):
    """The error names the service's own key; Workers get "cannot check now"."""
    with pytest.raises(OnlineCheckUnavailableError, match="resource_key"):
        await subject_in(World(online=True, resource_key="wrong")).verify(mint())


def test_an_online_check_for_a_resource_needs_its_key():
    """The Server answers only the resource itself, so a verifier without the key is not constructed."""
    with pytest.raises(InvalidInputError, match="resource_key"):
        WorkerVerifier(ISSUER, audience=AUDIENCE, online=True)


async def test_tokens_that_fail_offline_are_not_checked_online(subject_in):
    """Tokens of unknown callers never reach the Server."""
    world = World(online=True)
    subject = subject_in(world)
    for token in (mint(audience="x"), resigned(mint(), signer=OTHER_KEY), "nonsense"):
        await subject.code(token)

    assert world.server.checks == 0


# --- the options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer", "fine"),
    [
        ("https://lyft.example", True),
        ("https://lyft.example/", True),
        ("https://lyft.example:3000", True),
        ("http://localhost:3000", True),
        ("http://127.0.0.1:3000", True),
        ("http://[::1]:3000", True),
        ("http://lyft.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost.evil.example", False),
        ("https://user@lyft.example", False),
        ("https://lyft.example/path", False),
        ("https://lyft.example?x", False),
        ("https://lyft.example:x", False),
        ("lyft.example", False),
        ("ftp://lyft.example", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("kind", [WorkerVerifier, AsyncWorkerVerifier])
def test_the_issuer_must_use_https_or_be_on_this_machine(kind, issuer, fine):
    """Plain http to another machine is rejected when the verifier is constructed."""
    if fine:
        kind(issuer, audience=AUDIENCE)
    else:
        with pytest.raises(InvalidInputError):
            kind(issuer, audience=AUDIENCE)


def test_plain_http_must_be_allowed_explicitly():
    """`allow_http` is a separate option, and covers `server_url` too."""
    WorkerVerifier("http://lyft.example", audience=AUDIENCE, allow_http=True)
    with pytest.raises(InvalidInputError):
        WorkerVerifier(ISSUER, audience=AUDIENCE, server_url="http://lyft.internal")
    WorkerVerifier(ISSUER, audience=AUDIENCE, server_url="http://lyft.internal", allow_http=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"audience": ""},
        {"leeway_s": -1},
        {"outage_grace_s": -1},
        {"timeout_s": 0},
        {"kid_retry_s": 0},
        {"remember": -1},
    ],
    ids=str,
)
def test_an_invalid_argument_is_named(wrong):
    """When the verifier is constructed."""
    (name,) = wrong
    with pytest.raises(InvalidInputError, match=name):
        WorkerVerifier(ISSUER, **({"audience": AUDIENCE} | wrong))


@pytest.mark.parametrize("make", [WorkerVerifier, AsyncWorkerVerifier, "tokens"])
@pytest.mark.parametrize(
    "content", [None, b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_file_is_read_when_a_verifier_is_constructed(tmp_path, make, content):
    """Otherwise every later request would fail as if the Server were down."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    for given in [file, str(file), *(["", tmp_path] if content is None else [])]:
        with pytest.raises(InvalidInputError, match="tls_ca") as refused:
            if make == "tokens":
                TokenKeeper.with_api_key(ISSUER, worker_id="w-17", api_key="x", tls_ca=given)
            else:
                make(ISSUER, audience=AUDIENCE, tls_ca=given)
        assert refused.value.field == "tls_ca"


@pytest.mark.parametrize("seconds", [-1, 61])
def test_online_cache_s_has_bounds(seconds):
    """At most a minute."""
    with pytest.raises(InvalidInputError, match="online_cache_s"):
        WorkerVerifier(ISSUER, audience=ISSUER, online=True, online_cache_s=seconds)


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (
            TokenExpiredError(),
            401,
            'Bearer realm="lyftdata", error="invalid_token", error_description="The token has expired."',
        ),
        (
            UnknownKeyError("kid x"),
            401,
            'Bearer realm="lyftdata", error="invalid_token", error_description="The token is not valid here."',
        ),
        (
            InsufficientScopeError(needed={"b", "a"}, missing={"b"}),
            403,
            'Bearer realm="lyftdata", error="insufficient_scope", '
            'error_description="The token lacks a scope that is needed here.", scope="a b"',
        ),
        (KeysUnavailableError("http://internal"), 503, ""),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_a_refusal_has_status_and_challenge_of_rfc_6750(error, status, header):
    """The sender gets the standard error and one sentence; the details stay with the service."""
    assert (error.status, error.www_authenticate()) == (status, header)


def test_a_realm_cannot_inject_a_header():
    """It is quoted, and line breaks are removed."""
    assert (
        TokenExpiredError().www_authenticate('a"b\\c\r\nX: y').startswith('Bearer realm="a\\"b\\\\cX: y", ')
    )


def test_every_refusal_is_documented_and_can_be_imported():
    """The how-to lists the classes of `lyftdata.verify.errors`, and `lyftdata.verify` exports each."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "check-workers-in-a-service.md"
    listed = set(re.findall(r"^\| `\w+` \| `(\w+Error)` \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    own = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    refusals = {name: kind for name, kind in own.items() if issubclass(kind, VerificationError)}
    parents = {parent for kind in refusals.values() for parent in kind.__bases__}
    leaves = {name for name, kind in refusals.items() if kind not in parents}

    assert listed == leaves
    assert listed <= set(lyftdata.verify.__all__)
    for name in listed:
        assert getattr(lyftdata.verify, name) is getattr(errors, name)


def test_every_refusal_has_its_own_code():
    """Dashboards match on codes, so no two classes share one."""

    def tree(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    codes = [kind.code for kind in tree(VerificationError)]
    assert len(codes) == len(set(codes))


def test_a_fetch_that_ends_late_does_not_replace_newer_keys():
    """A fetch that was considered dead may return keys that the Server has since withdrawn."""
    verifier = WorkerVerifier(ISSUER, audience=AUDIENCE)
    late, verifier._key_fetch = _KeyFetch(0), _KeyFetch(100)

    verifier._finish(late, read_jwks(jwks_of(OTHER_KEY.public_jwk()), cache_control=""))

    assert not verifier._cache.by_kid
