"""The verifiers: keys kept in hand, tokens remembered, the Server asked as seldom as promised."""

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
    """Either kind of verifier, asked the same way."""

    def __init__(self, verifier):
        self.verifier = verifier

    async def verify(self, token, **how):
        """Verify; then wait for what was begun behind the caller's back."""
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


async def test_the_keys_are_fetched_once_and_kept(subject_in):
    """The first token costs a fetch; those that follow cost none."""
    world = World()
    subject = subject_in(world)

    for number in range(5):
        assert (await subject.verify(mint(jti=f"j{number}"))).worker_id == "w-17"

    assert world.server.fetches == 1


async def test_keys_are_refreshed_in_the_background_at_half_their_age(subject_in):
    """At half of `max-age` a caller causes a fetch and does not wait for it."""
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


async def test_a_rotated_key_is_taken_without_a_restart(subject_in):
    """A token under a key that was published since is taken at once: an unknown kid is looked up."""
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
async def test_a_key_that_left_the_jwks_opens_nothing_after_max_age(subject_in, remembered):
    """A key's tokens are refused no later than `max-age` after it left, whether they were seen before or not."""
    world = World()
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)
    world.server.keys = [ED25519]

    world.clock.forward(300)
    assert await subject.code(token if remembered else mint()) == "unknown_key"


async def test_a_key_replaced_under_the_same_kid_opens_nothing(subject_in):
    """A remembered token rests on its very key, not on the name of it."""
    world = World()
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)
    jwk = OTHER_KEY.public_jwk() | {"kid": ES256.kid}
    world.server.responses["/.well-known/jwks.json"] = httpx2.Response(200, json={"keys": [jwk]})

    world.clock.forward(300)
    assert await subject.code(token) == "token_signature"


async def test_an_outage_of_the_server_is_not_an_outage_of_the_service(subject_in):
    """With keys in hand tokens go on being checked while the Server is down, until the grace is over."""
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


async def test_the_grace_may_be_nothing(subject_in):
    """With `outage_grace_s=0` keys that are not fresh are not used."""
    world = World(outage_grace_s=0)
    subject = subject_in(world)
    await subject.verify(mint())
    world.server.up = False

    world.clock.forward(299)
    assert await subject.code(mint()) is None
    world.clock.forward(1)
    assert await subject.code(mint()) == "keys_unavailable"


async def test_without_keys_nothing_can_be_said(subject_in):
    """A service that starts while the Server is down says "cannot check now", asks at growing intervals, and recovers."""
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
async def test_what_is_no_token_in_form_is_named_without_asking_the_server(subject_in, given, problem, is_up):
    """A mistake of the caller's does not read as an outage of the Server, and costs it nothing."""
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


async def test_a_flood_of_made_up_kids_costs_one_fetch_in_ten_seconds(subject_in):
    """However many keys unknown callers make up, the Server is asked at most once in `kid_retry_s`."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())

    for _ in range(3):
        world.clock.forward(10)
        flood = [resigned(mint(), header={"kid": f"made-up-{number}"}) for number in range(50)]
        codes = await asyncio.gather(*(subject.code(token) for token in flood))
        # Of threads only a few wait for the answer; the rest learn that it is not there yet.
        assert "unknown_key" in codes
        assert set(codes) <= {"unknown_key", "keys_unavailable"}

    assert world.server.fetches == 1 + 3


async def test_a_flood_does_not_keep_good_tokens_out(subject_in):
    """While unknown callers flood, tokens under known keys go on being taken."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())

    for number in range(50):
        await subject.code(resigned(mint(), header={"kid": f"made-up-{number}"}))
        assert await subject.code(mint(jti=f"j{number}")) is None
    # The first fetch was less than kid_retry_s ago: not one of them was worth another.
    assert world.server.fetches == 1


async def test_foreign_tokens_cost_the_server_nothing(subject_in):
    """Another Server's token, or one for another service, is refused without asking for its key."""
    world = World()
    subject = subject_in(world)
    await subject.verify(mint())
    world.clock.forward(11)

    assert await subject.code(mint(OTHER_KEY, issuer="https://other.example")) == "unknown_key"
    assert await subject.code(mint(OTHER_KEY, audience="https://other.example")) == "unknown_key"
    assert world.server.fetches == 1
    assert await subject.code(mint(OTHER_KEY)) == "unknown_key"
    assert world.server.fetches == 2


async def test_an_unknown_key_during_an_outage_is_not_said_to_be_a_unknown_callers(subject_in):
    """Whether a key is new or made up cannot be told while the Server is down: its bearer keeps the token."""
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
async def test_keys_from_elsewhere_or_without_end_are_not_taken(subject_in, path, answer):
    """A redirect, another issuer, another address, an answer too large or of another kind: no keys."""
    world = World()
    world.server.responses[f"/.well-known/{path}"] = answer

    assert await subject_in(world).code(mint()) == "keys_unavailable"


async def test_the_server_may_be_reached_by_another_address(subject_in):
    """Inside a cluster the keys are fetched at `server_url`, and the issuer stays what tokens must say."""
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
    """Many threads that need keys at once cause one fetch, and all get in."""
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


def test_unknown_callers_cannot_keep_every_thread_waiting():
    """While the Server hangs, at most two threads wait for a made-up key; known keys wait for nobody."""
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


async def test_a_caller_that_goes_away_does_not_end_the_fetch_of_others():
    """Single-flight belongs to all who wait: one of them being cancelled changes nothing for the rest."""
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


def test_one_async_verifier_serves_one_loop_after_another():
    """A verifier made at import time works in whichever loop runs (tests, scripts)."""
    world = World(online=True)
    verifier = world.async_verifier()

    for number in range(3):
        world.clock.forward(400)
        token = mint(jti=f"j{number}", ttl_s=9000)
        assert asyncio.run(verifier.verify(token)).worker_id == "w-17"


def test_a_fetch_that_died_with_its_process_does_not_stop_the_next(monkeypatch):
    """A process that forks during a fetch has the flight without its thread; it starts one of its own."""
    from lyftdata.verify._threads import _KeyFetch

    world = World()
    verifier = world.verifier()
    monkeypatch.setattr("os.getpid", lambda: 1)
    verifier._key_fetch = _KeyFetch(world.clock.steady_s)
    monkeypatch.undo()

    assert verifier.verify(mint()).worker_id == "w-17"


def test_a_bug_in_a_fetch_is_an_outage_and_not_a_hang():
    """Whatever goes wrong while fetching, callers are answered."""
    world = World()

    def broken(_request):
        message = "surprise"
        raise ZeroDivisionError(message)

    world.options["transport"] = httpx2.MockTransport(broken)

    with pytest.raises(KeysUnavailableError, match="surprise"):
        world.verifier().verify(mint())


# --- memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds_left", "code"), [(1, None), (0, "token_expired"), (-1, "token_expired")])
async def test_remembering_does_not_extend_a_life(subject_in, seconds_left, code):
    """A token that was checked before dies at its `exp` like any other."""
    world = World()
    subject = subject_in(world)
    token = mint()
    assert await subject.code(token) is None
    world.clock.forward(900 - seconds_left)

    assert await subject.code(token) == code


async def test_a_token_remembered_is_not_checked_again(subject_in, monkeypatch):
    """The signature of a token is computed once."""
    world = World()
    subject = subject_in(world)
    token = mint()
    first = await subject.verify(token)
    monkeypatch.setattr("lyftdata.verify._rules.UnverifiedJws.check_signature", None)

    assert await subject.verify(token) is first
    # Fetching the same keys again is no reason to compute it again either.
    world.clock.forward(400)
    assert await subject.verify(token) is first
    assert world.server.fetches == 2


async def test_memory_is_bounded_and_keeps_what_is_used(subject_in):
    """At most so many tokens are remembered; those longest not seen go first."""
    world = World(remember=3)
    subject = subject_in(world)
    tokens = [mint(jti=f"j{number}") for number in range(4)]
    for token in (*tokens[:3], tokens[0], tokens[3]):
        await subject.verify(token)

    from lyftdata.verify._memory import token_digest

    kept = set(subject.verifier._memory._entries)
    assert kept == {token_digest(tokens[number]) for number in (0, 2, 3)}


def test_a_token_is_not_in_memory():
    """What is remembered cannot be used as a token."""
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
async def test_every_needed_scope_must_be_there(subject_in, granted, needed, missing):
    """A Worker does what each of its scopes says, and nothing else; being remembered changes nothing."""
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


async def test_offline_by_default(subject_in):
    """Nobody asks the Server about a token unless told to."""
    world = World()
    await subject_in(world).verify(mint())

    assert world.server.checks == 0


async def test_online_a_revoked_worker_is_refused_at_once(subject_in):
    """Asked each time, the Server's no counts from the next request on."""
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
async def test_the_servers_yes_may_be_believed_for_a_while(subject_in, after_s, code):
    """With `online_cache_s` a yes holds for that long, and no second longer."""
    world = World(online=True, online_cache_s=5)
    subject = subject_in(world)
    token = mint()
    await subject.verify(token)
    world.server.revoked.add(token)
    world.clock.forward(after_s)

    assert await subject.code(token) == code


async def test_a_yes_grows_older_while_keys_are_fetched(subject_in):
    """`online_cache_s` counts until the Worker is let in, and not until the request came."""
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


async def test_when_the_server_cannot_be_asked_nobody_gets_in(subject_in):
    """Refusing is the default, and says "cannot check now", not "revoked"."""
    world = World(online=True)
    subject = subject_in(world)
    await subject.verify(mint())
    world.server.up = False

    with pytest.raises(OnlineCheckUnavailableError):
        await subject.verify(mint())
    world.server.up = True
    assert await subject.code(mint()) is None


async def test_failing_open_the_offline_check_decides(subject_in):
    """With `online_fail_open` an outage lets in anyone who passes offline, and one failed question spares the next two seconds'."""
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
async def test_only_the_servers_own_yes_is_a_yes(subject_in, answer, audience):
    """A proxy's or portal's answer, or one about another Worker or token, is no answer."""
    world = World(online=True, audience=audience)
    world.server.responses = {"/auth/verify": answer, "/oauth2/introspect": answer}

    assert await subject_in(world).code(mint(audience=audience)) == "online_check_unavailable"


async def test_a_token_for_the_server_itself_is_asked_about_by_itself(subject_in):
    """Where the audience is the Server's own, `/auth/verify` is asked with the token, and no key is needed."""
    world = World(online=True, audience=ISSUER, resource_name=None, resource_key=None)
    subject = subject_in(world)
    token = mint(audience=ISSUER)
    assert await subject.code(token) is None
    world.server.revoked.add(token)

    assert await subject.code(token) == "token_revoked"
    assert world.server.asked["/auth/verify"] == 2


async def test_a_scope_that_was_taken_back_is_gone_online(subject_in):
    """What a Worker may do is what its token and the Server both say, now; a yes that is remembered says the same."""
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


async def test_a_wrong_resource_key_refuses_nobodys_token(subject_in):
    """When the service's own key is wrong, that is what the log says; Workers read "cannot check now"."""
    with pytest.raises(OnlineCheckUnavailableError, match="resource_key"):
        await subject_in(World(online=True, resource_key="wrong")).verify(mint())


def test_online_for_a_resource_needs_its_key():
    """The Server tells about a resource's tokens to that resource alone: without its key a verifier is not made."""
    with pytest.raises(InvalidInputError, match="resource_key"):
        WorkerVerifier(ISSUER, audience=AUDIENCE, online=True)


async def test_the_server_is_not_asked_about_what_fails_offline(subject_in):
    """Unknown callers' tokens cost the Server nothing, and reach it never."""
    world = World(online=True)
    subject = subject_in(world)
    for token in (mint(audience="x"), resigned(mint(), signer=OTHER_KEY), "nonsense"):
        await subject.code(token)

    assert world.server.checks == 0


# --- what it is made with -------------------------------------------------------------------------------


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
def test_keys_come_over_https_or_from_this_machine(kind, issuer, fine):
    """Plain http to another machine is refused when the verifier is made, before anything is asked."""
    if fine:
        kind(issuer, audience=AUDIENCE)
    else:
        with pytest.raises(InvalidInputError):
            kind(issuer, audience=AUDIENCE)


def test_plain_http_is_allowed_to_those_who_say_so():
    """`allow_http` is a word of its own, and one for `server_url` too."""
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
def test_an_argument_that_makes_no_sense_is_named(wrong):
    """A wrong argument is refused when the verifier is made, and the message names it."""
    (name,) = wrong
    with pytest.raises(InvalidInputError, match=name):
        WorkerVerifier(ISSUER, **({"audience": AUDIENCE} | wrong))


@pytest.mark.parametrize("make", [WorkerVerifier, AsyncWorkerVerifier, "tokens"])
@pytest.mark.parametrize(
    "content", [None, b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_of_certificates_is_read_when_a_verifier_is_made(tmp_path, make, content):
    """Later, every request would be answered as if the Server were down."""
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
def test_how_long_a_yes_is_believed_has_bounds(seconds):
    """A yes is believed for a minute at most."""
    with pytest.raises(InvalidInputError, match="online_cache_s"):
        WorkerVerifier(ISSUER, audience=ISSUER, online=True, online_cache_s=seconds)


# --- what a refusal says --------------------------------------------------------------------------------


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
def test_a_refusal_in_the_words_of_rfc_6750(error, status, header):
    """The sender reads the standard's error and one sentence; what exactly was seen stays here."""
    assert (error.status, error.www_authenticate()) == (status, header)


def test_a_realm_cannot_break_the_header():
    """Whatever the realm is, the header stays one header."""
    assert (
        TokenExpiredError().www_authenticate('a"b\\c\r\nX: y').startswith('Bearer realm="a\\"b\\\\cX: y", ')
    )


def test_every_refusal_is_in_the_how_to_and_can_be_imported():
    """The classes that the how-to lists are those of `lyftdata.verify.errors`, and `lyftdata.verify` has each."""
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


def test_every_refusal_has_a_code_of_its_own():
    """Codes are what dashboards match on: no two classes share one."""

    def tree(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    codes = [kind.code for kind in tree(VerificationError)]
    assert len(codes) == len(set(codes))


def test_a_fetch_that_ends_late_does_not_replace_newer_keys():
    """One that was considered dead may bring keys that the Server has withdrawn since."""
    verifier = WorkerVerifier(ISSUER, audience=AUDIENCE)
    late, verifier._key_fetch = _KeyFetch(0), _KeyFetch(100)

    verifier._finish(late, read_jwks(jwks_of(OTHER_KEY.public_jwk()), cache_control=""))

    assert not verifier._cache.by_kid
