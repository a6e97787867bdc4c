"""
The verifiers: the pure rules, with the Server's keys kept in hand.

Both kinds decide by the same parts and differ in how they wait: threads, or an event loop.

    verify(token)
      1  are the keys in hand fresh enough          KeyCache; one comparison if so
      2  was this very token checked before         Memory; still its key, still before its exp
      3  else check it                              _rules
         an unknown kid, and it reads as ours:      fetch the keys (bounded, single-flight), check once more
      4  online: ask the Server                     unless its yes is younger than online_cache_s
      5  scopes
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import httpx2

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret
from lyftdata.verify._http import UnreachableError, aget_keys, arequest, client_options, get_keys, request
from lyftdata.verify._keys import KeyCache, PublishedKeys, Step
from lyftdata.verify._memory import Memory, Remembered, token_digest
from lyftdata.verify._online import AuthVerify, Introspect, OnlinePolicy, OnlineState
from lyftdata.verify._rules import Expected, verify_token
from lyftdata.verify._server import Place, checked_url
from lyftdata.verify.errors import (
    KeysUnavailableError,
    OnlineCheckUnavailableError,
    TokenRevokedError,
    UnknownKeyError,
)
from lyftdata.verify.identity import WorkerIdentity, require_scopes

_log = logging.getLogger("lyftdata.verify")

TransportT = TypeVar("TransportT")

# A fetch that has not ended long after its time is over has died with its thread; another may start.
_DEAD_AFTER = 4
# Threads that may wait at once to see whether an unknown kid is a new key.
_MOST_WAITING = 2


class Verifier(Generic[TransportT]):
    """
    What both kinds share: `WorkerVerifier` and `AsyncWorkerVerifier` take these arguments.

    Args:
        issuer: What the Server calls itself (`LYFTDATA_PUBLIC_URL`); its keys are fetched from there. https, unless
            it is this very machine.
        audience: What this service is called in tokens meant for it; compared exactly. The Server's own issuer,
            where Workers ask for no `resource`: every service that takes that audience takes the same tokens.
        server_url: Where the Server is reached, if not at its issuer.
        allow_http: Allow plain http to another machine: whoever sits on the way could then let anybody in.
        tls_ca: Certificates (PEM) to trust in the place of the system's.
        leeway_s: By how many seconds clocks may differ where a token begins. Its end has no leeway.
        timeout_s: Bounds one question to the Server, whole.
        outage_grace_s: For how long after they have ceased to be fresh the keys in hand are used while the Server
            does not answer.
        kid_retry_s: Tokens under unknown keys cause at most one fetch in this time, however many there are.
        remember: How many checked tokens are remembered; about 1 KB each.
        online: Ask the Server about every token, so that a disabled Worker is refused at once.
        online_cache_s: Believe its yes for so many seconds, 0 to 60.
        online_fail_open: When the Server cannot be asked, let the offline check decide; otherwise refuse (503).
        resource_name: What this service is named on the Server (`lyftdata resources`): for the online check of tokens
            whose audience is not the Server itself.
        resource_key: Its key (`lyftdata resources issue-key`).
        transport: Put in the place of the network by tests.
        clock: Gives Unix time in seconds.
        monotonic: Gives seconds on a clock that does not jump.

    Raises:
        InvalidInputError: An argument cannot be used; the message names it.
    """

    def __init__(
        self,
        issuer: str,
        *,
        audience: str,
        server_url: str | None = None,
        allow_http: bool = False,
        tls_ca: str | Path | None = None,
        leeway_s: float = 30.0,
        timeout_s: float = 5.0,
        outage_grace_s: float = 86_400.0,
        kid_retry_s: float = 10.0,
        remember: int = 50_000,
        online: bool = False,
        online_cache_s: float = 0.0,
        online_fail_open: bool = False,
        resource_name: str | None = None,
        resource_key: str | None = None,
        transport: TransportT | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not audience:
            raise InvalidInputError("audience", "audience must be what this service is called in its tokens.")
        given = {"leeway_s": leeway_s, "outage_grace_s": outage_grace_s, "remember": remember}
        for name, value in given.items():
            if value < 0:
                raise InvalidInputError(name, f"{name} must not be negative.")
        for name, value in {"timeout_s": timeout_s, "kid_retry_s": kid_retry_s}.items():
            if value <= 0:
                raise InvalidInputError(name, f"{name} must be more than 0.")
        self._place = Place(
            issuer=checked_url("issuer", issuer, allow_http=allow_http or server_url is not None),
            server_url=checked_url(
                "server_url" if server_url else "issuer", server_url or issuer, allow_http=allow_http
            ),
            timeout_s=timeout_s,
            tls_ca=Path(tls_ca) if tls_ca is not None else None,
        )
        self._expected = Expected(issuer=self._place.issuer, audience=audience, leeway_s=leeway_s)
        self._cache = KeyCache(outage_grace_s=outage_grace_s, kid_retry_s=kid_retry_s)
        self._memory = Memory(remember)
        self._online: OnlineState | None = None
        if online:
            check = _online_check(self._place, audience, resource_name, resource_key)
            policy = OnlinePolicy(check=check, cache_s=online_cache_s, fail_open=online_fail_open)
            self._online = OnlineState(policy)
        self._transport = transport
        self._lock = threading.Lock()  # held for microseconds, when a fetch starts or a client is made
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._clock = clock
        self._monotonic = monotonic

    def _recall(self, digest: bytes) -> Remembered | None:
        return self._memory.recall(digest, keys=self._cache.by_kid, now_s=self._clock())

    def _judge(self, unverified_token: str, digest: bytes) -> Remembered:
        verified = verify_token(
            unverified_token, keys=self._cache.by_kid, expected=self._expected, now_s=self._clock()
        )
        return self._memory.remember(digest, verified)

    def _take(self, outcome: PublishedKeys | KeysUnavailableError, *, asked_at_s: float) -> None:
        """Note what a fetch came to."""
        if isinstance(outcome, PublishedKeys):
            self._cache.succeeded(outcome, asked_at_s=asked_at_s)
        else:
            self._cache.failed(outcome.message, now_s=self._monotonic())
            _log.warning("worker tokens may soon be refused: %s", outcome.message)


def _online_check(
    place: Place, audience: str, resource_name: str | None, resource_key: str | None
) -> AuthVerify | Introspect:
    """Return what the Server is asked about a token: it says something about a resource's to that resource alone."""
    if audience == place.issuer:
        return AuthVerify(place)
    if not resource_name or not resource_key:
        raise InvalidInputError(
            "online",
            "online needs resource_name and resource_key where the audience is not the Server itself "
            "(`lyftdata resources issue-key NAME`).",
        )
    return Introspect(place, name=resource_name, key=Secret(resource_key))


class WorkerVerifier(Verifier[httpx2.BaseTransport]):
    """
    Checks worker tokens; for threads.

    Make one, keep it, and use it from as many threads as you like. Arguments: see `Verifier`.

        verifier = WorkerVerifier("https://lyftdata.example.com", audience="https://lyftdata.example.com")
        worker = verifier.verify(token)
    """

    _flight: "_Flight | None" = None
    _http: "tuple[int, httpx2.Client] | None" = None

    def verify(self, unverified_token: str, *, scopes: Iterable[str] = ()) -> WorkerIdentity:
        """
        Check a worker token, and return the Worker that it proves.

        Args:
            unverified_token: As received, without `Bearer`.
            scopes: What the Worker must be allowed to do.

        Raises:
            InvalidTokenError: Not a token that lets anybody in here; its kind and `code` say why.
            InsufficientScopeError: A good token without one of the scopes.
            CannotVerifyError: It cannot be checked now.
        """
        now_s = self._monotonic()
        if now_s >= self._cache.due_at_s:
            self._mind_keys(now_s)
        digest = token_digest(unverified_token)
        entry = self._recall(digest)
        if entry is None:
            entry = self._check(unverified_token, digest)
        worker = entry.worker
        if self._online is not None:
            worker = self._online.recall(entry, now_s) or self._ask(
                self._online, unverified_token, digest, entry
            )
        if scopes:
            require_scopes(worker, scopes)
        return worker

    def close(self) -> None:
        """Close the connections of the online check; the verifier may be used again after."""
        http, self._http = self._http, None
        if http is not None:
            http[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _mind_keys(self, now_s: float) -> None:
        step = self._cache.next_step(now_s)
        if step is not Step.NOTHING:
            self._fetch(wait=step is Step.FETCH_AND_WAIT)
        self._cache.check_usable(self._monotonic())

    def _check(self, unverified_token: str, digest: bytes) -> Remembered:
        try:
            return self._judge(unverified_token, digest)
        except UnknownKeyError as error:
            if not error.worth_fetching:
                raise
        if self._flight is not None or self._cache.may_fetch_for_kid(self._monotonic()):
            self._fetch_for_kid()
        try:
            return self._judge(unverified_token, digest)
        except UnknownKeyError:
            self._cache.check_answers()
            raise

    def _fetch_for_kid(self) -> None:
        # Strangers must not be able to keep every thread of a service waiting for a Server that hangs: one makes up a
        # kid in no time. Known keys wait for nobody.
        if not self._waiting.acquire(blocking=False):
            raise KeysUnavailableError("The Server's keys are being fetched.")
        try:
            self._fetch(wait=True, for_kid=True)
        finally:
            self._waiting.release()

    def _fetch(self, *, wait: bool, for_kid: bool = False) -> None:
        """Start a fetch, or join the one that is under way: there is never more than one."""
        now_s = self._monotonic()
        with self._lock:
            flight = self._flight
            if flight is None or flight.is_dead(now_s, self._place.timeout_s):
                # Asked again: another thread's fetch may have ended since this one saw that it was needed.
                due = (
                    self._cache.may_fetch_for_kid(now_s)
                    if for_kid
                    else self._cache.next_step(now_s) is not Step.NOTHING
                )
                if not due:
                    return
                flight = self._start(now_s)
        if wait:
            # In a thread of its own, so that not even an answer that trickles in holds a caller for longer.
            flight.done.wait(self._place.timeout_s * 2)

    def _start(self, now_s: float) -> "_Flight":
        self._cache.begin(now_s)
        flight = self._flight = _Flight(now_s)
        thread = threading.Thread(target=self._fly, args=(flight,), name="lyftdata-verify-keys", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            self._land(flight, KeysUnavailableError(f"No thread to fetch the Server's keys in: {error}"))
        return flight

    def _fly(self, flight: "_Flight") -> None:
        try:
            outcome: PublishedKeys | KeysUnavailableError = get_keys(self._place, transport=self._transport)
        except KeysUnavailableError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - whatever it is, callers wait for the end of this thread
            outcome = KeysUnavailableError(f"The Server's keys cannot be fetched: {error!r}")
        self._land(flight, outcome)

    def _land(self, flight: "_Flight", outcome: PublishedKeys | KeysUnavailableError) -> None:
        # One that was given up for dead, and ends after all, must not put old keys over newer ones.
        if self._flight is flight:
            self._take(outcome, asked_at_s=flight.asked_at_s)
            self._flight = None
        flight.done.set()

    def _ask(self, online: OnlineState, token: str, digest: bytes, entry: Remembered) -> WorkerIdentity:
        asked_at_s = self._monotonic()
        asked = online.check.question(token)
        try:
            answer = request(
                self._online_client(),
                asked.method,
                asked.url,
                within_s=self._place.timeout_s,
                headers=asked.headers,
                data=asked.form,
            )
            return online.answered(entry, answer, asked_at_s=asked_at_s)
        except TokenRevokedError:
            self._memory.forget(digest)
            raise
        except OnlineCheckUnavailableError as error:
            return online.not_answered(entry, error, now_s=self._monotonic())
        except UnreachableError as error:
            unavailable = OnlineCheckUnavailableError(f"The Server cannot be asked: {error}")
            return online.not_answered(entry, unavailable, now_s=self._monotonic())

    def _online_client(self) -> httpx2.Client:
        """Return the client that keeps connections; a process that forked makes its own."""
        with self._lock:
            if self._http is None or self._http[0] != os.getpid():
                options = client_options(self._place)
                self._http = (os.getpid(), httpx2.Client(**options, transport=self._transport))
            return self._http[1]


class _Flight:
    """A fetch under way, in this process."""

    def __init__(self, asked_at_s: float) -> None:
        self.asked_at_s = asked_at_s
        self.done = threading.Event()
        self._pid = os.getpid()

    def is_dead(self, now_s: float, timeout_s: float) -> bool:
        """Return whether nobody will ever end it: its thread stayed behind in the parent process, or is stuck."""
        return self._pid != os.getpid() or now_s > self.asked_at_s + timeout_s * _DEAD_AFTER


class AsyncWorkerVerifier(Verifier[httpx2.AsyncBaseTransport]):
    """
    Checks worker tokens; for an event loop.

    Make one and keep it. Arguments: see `Verifier`.

        verifier = AsyncWorkerVerifier("https://lyftdata.example.com", audience="https://lyftdata.example.com")
        worker = await verifier.verify(token)
    """

    _flight: "asyncio.Task[None] | None" = None
    _http: "tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient] | None" = None

    async def verify(self, unverified_token: str, *, scopes: Iterable[str] = ()) -> WorkerIdentity:
        """
        Check a worker token, and return the Worker that it proves.

        Args:
            unverified_token: As received, without `Bearer`.
            scopes: What the Worker must be allowed to do.

        Raises:
            InvalidTokenError: Not a token that lets anybody in here; its kind and `code` say why.
            InsufficientScopeError: A good token without one of the scopes.
            CannotVerifyError: It cannot be checked now.
        """
        now_s = self._monotonic()
        if now_s >= self._cache.due_at_s:
            await self._mind_keys(now_s)
        digest = token_digest(unverified_token)
        entry = self._recall(digest)
        if entry is None:
            entry = await self._check(unverified_token, digest)
        worker = entry.worker
        if self._online is not None:
            worker = self._online.recall(entry, now_s) or await self._ask(
                self._online, unverified_token, digest, entry
            )
        if scopes:
            require_scopes(worker, scopes)
        return worker

    async def aclose(self) -> None:
        """Close the connections of the online check; the verifier may be used again after."""
        http, self._http = self._http, None
        if http is not None:
            await http[1].aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _mind_keys(self, now_s: float) -> None:
        step = self._cache.next_step(now_s)
        if step is not Step.NOTHING:
            await self._fetch(wait=step is Step.FETCH_AND_WAIT)
        self._cache.check_usable(self._monotonic())

    async def _check(self, unverified_token: str, digest: bytes) -> Remembered:
        try:
            return self._judge(unverified_token, digest)
        except UnknownKeyError as error:
            if not error.worth_fetching:
                raise
        if self._under_way() is not None or self._cache.may_fetch_for_kid(self._monotonic()):
            await self._fetch(wait=True)
        try:
            return self._judge(unverified_token, digest)
        except UnknownKeyError:
            self._cache.check_answers()
            raise

    def _under_way(self) -> "asyncio.Task[None] | None":
        flight = self._flight
        # A task of a loop that has ended will never be done.
        if flight is None or flight.done() or flight.get_loop() is not asyncio.get_running_loop():
            return None
        return flight

    async def _fetch(self, *, wait: bool) -> None:
        """Start a fetch, or join the one that is under way: there is never more than one."""
        flight = self._under_way()
        if flight is None:
            now_s = self._monotonic()
            self._cache.begin(now_s)
            flight = self._flight = asyncio.create_task(self._fly(now_s), name="lyftdata-verify-keys")
        if wait:
            # Not awaited itself: a caller that goes away must not end what others are waiting for.
            await asyncio.wait([flight])

    async def _fly(self, asked_at_s: float) -> None:
        try:
            outcome: PublishedKeys | KeysUnavailableError = await aget_keys(
                self._place, transport=self._transport
            )
        except KeysUnavailableError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - whatever it is, it must count as a failure, or be tried without end
            outcome = KeysUnavailableError(f"The Server's keys cannot be fetched: {error!r}")
        self._take(outcome, asked_at_s=asked_at_s)

    async def _ask(self, online: OnlineState, token: str, digest: bytes, entry: Remembered) -> WorkerIdentity:
        asked_at_s = self._monotonic()
        asked = online.check.question(token)
        try:
            answer = await arequest(
                self._online_client(),
                asked.method,
                asked.url,
                within_s=self._place.timeout_s,
                headers=asked.headers,
                data=asked.form,
            )
            return online.answered(entry, answer, asked_at_s=asked_at_s)
        except TokenRevokedError:
            self._memory.forget(digest)
            raise
        except OnlineCheckUnavailableError as error:
            return online.not_answered(entry, error, now_s=self._monotonic())
        except UnreachableError as error:
            unavailable = OnlineCheckUnavailableError(f"The Server cannot be asked: {error}")
            return online.not_answered(entry, unavailable, now_s=self._monotonic())

    def _online_client(self) -> httpx2.AsyncClient:
        """Return the client that keeps connections; another event loop gets another."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._http[0] is not loop:
            options = client_options(self._place)
            self._http = (loop, httpx2.AsyncClient(**options, transport=self._transport))
        return self._http[1]
