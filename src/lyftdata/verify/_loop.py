"""Checks worker tokens on an event loop."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import httpx2

from lyftdata.bounded_http import UnreachableError, asend
from lyftdata.verify._keys import PublishedKeys, Step
from lyftdata.verify._memory import Remembered, token_digest
from lyftdata.verify._online import OnlineState
from lyftdata.verify._rules import read_form
from lyftdata.verify._server import aget_keys, online_options
from lyftdata.verify._turns import Turns, waited_too_long
from lyftdata.verify._verifier import Verifier
from lyftdata.verify.errors import KeysUnavailableError, OnlineCheckUnavailableError, UnknownKeyError
from lyftdata.verify.identity import WorkerIdentity, require_scopes


class AsyncWorkerVerifier(Verifier[httpx2.AsyncBaseTransport]):
    """
    Checks worker tokens; for an event loop.

    Make one and keep it.

        verifier = AsyncWorkerVerifier("https://lyftdata.example.com", audience="https://lyftdata.example.com")
        worker = await verifier.verify(token)

    Args:
        issuer: The Server's issuer (`LYFTDATA_PUBLIC_URL`); its keys are fetched from there. https, unless it is on this
            machine.
        audience: The audience of this service in tokens; compared exactly. The Server's own issuer, if Workers ask for no
            `resource`: every service that accepts that audience accepts the same tokens.
        server_url: The Server's address for this service, if it is not the issuer.
        allow_http: Allow plain http to another machine: an attacker on the network could then let any caller in.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
        leeway_s: How many seconds ahead of this host's clock `iat` and `nbf` may be. `exp` has no leeway.
        timeout_s: Bounds a request to the Server as a whole, in seconds.
        outage_grace_s: How many seconds stale keys are still used while the Server does not answer.
        kid_retry_s: Tokens with unknown `kid`s cause at most one fetch in this many seconds, however many there are.
        remember: How many checked tokens are cached; about 1 KB each.
        online: Ask the Server about every token, so that a disabled Worker is refused at once.
        online_cache_s: How many seconds a confirmation by the Server is reused, 0 to 60.
        online_fail_open: If the Server cannot be asked, rely on the offline check; otherwise refuse (503).
        resource_name: This service's name on the Server (`lyftdata resources`): for the online check of tokens whose
            audience is not the Server itself.
        resource_key: This service's key (`lyftdata resources issue-key`).
        transport: For tests: used instead of the network.
        clock: For tests: returns Unix time in seconds.
        monotonic: For tests: returns seconds of a monotonic clock.

    Raises:
        InvalidInputError: An argument is invalid; the message names it.
    """

    _key_fetch: "asyncio.Task[None] | None" = None
    _http: "tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient] | None" = None
    _turns: tuple[asyncio.AbstractEventLoop, Turns[asyncio.Semaphore]] | None = None

    async def verify(self, unverified_token: str, *, scopes: Iterable[str] = ()) -> WorkerIdentity:
        """
        Check a worker token, and return the Worker that it proves.

        Args:
            unverified_token: As received, without `Bearer`.
            scopes: What the Worker must be allowed to do.

        Raises:
            InvalidTokenError: The token is refused; its subclass and `code` say why.
            InsufficientScopeError: A valid token without one of the scopes.
            CannotVerifyError: The token cannot be checked now.
        """
        now_s = self._monotonic()
        if now_s >= self._cache.due_at_s:
            # Amplification: garbage must not cause a request to the Server, and in an outage it is still answered 401, not 503.
            read_form(unverified_token)
            await self._refresh_keys_if_due(now_s)
            now_s = self._monotonic()  # that may have waited, and a cached confirmation is older now
        digest = token_digest(unverified_token)
        entry = self._memory.recall(digest, self._cache.by_kid, self._clock())
        if entry is None:
            entry = await self._check(unverified_token, digest)
        worker = entry.worker
        if self._online is not None:
            recalled = self._online.recall(entry, now_s)
            worker = (
                await self._ask(self._online, unverified_token, digest, entry)
                if recalled is None
                else recalled
            )
        require_scopes(worker, scopes)
        return worker

    async def aclose(self) -> None:
        """Close the connections of the online check; the verifier can still be used afterwards."""
        http, self._http = self._http, None
        replaced, self._replaced = self._replaced, []
        for client in (*replaced, *([] if http is None else [http[1]])):
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _refresh_keys_if_due(self, now_s: float) -> None:
        step = self._cache.next_step(now_s)
        if step is not Step.NOTHING:
            await self._fetch(wait=step is Step.FETCH_AND_WAIT)
        self._cache.check_usable(self._monotonic())

    async def _check(self, unverified_token: str, digest: bytes) -> Remembered:
        try:
            return self._verify_and_remember(unverified_token, digest)
        except UnknownKeyError as error:
            if not error.worth_fetching:
                raise
        # Key rotation: the Server may have published this key since the last fetch.
        if self._running_fetch() is not None or self._cache.may_fetch_for_kid(self._monotonic()):
            await self._fetch(wait=True)
        try:
            return self._verify_and_remember(unverified_token, digest)
        except UnknownKeyError:
            # In an outage the key may be a new one: 503, so that an honest Worker keeps its token, not 401.
            self._cache.check_answers()
            raise

    def _running_fetch(self) -> "asyncio.Task[None] | None":
        fetch = self._key_fetch
        # A task of an event loop that was closed never finishes.
        if fetch is None or fetch.done() or fetch.get_loop() is not asyncio.get_running_loop():
            return None
        return fetch

    async def _fetch(self, *, wait: bool) -> None:
        """Start a fetch, or join the one in progress: there is never more than one."""
        fetch = self._running_fetch()
        if fetch is None:
            now_s = self._monotonic()
            self._cache.begin(now_s)
            fetch = self._key_fetch = asyncio.create_task(self._run(now_s), name="lyftdata-verify-keys")
        if wait:
            # Not awaited directly: a caller that is cancelled must not cancel a fetch that others wait for.
            await asyncio.wait([fetch])

    async def _run(self, asked_at_s: float) -> None:
        try:
            outcome: PublishedKeys | KeysUnavailableError = await aget_keys(
                self._endpoint, transport=self._transport
            )
        except KeysUnavailableError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - any error must count as a failure, or there would be no backoff
            outcome = KeysUnavailableError(f"The Server's keys cannot be fetched: {error!r}")
        self._record_fetch(outcome, asked_at_s=asked_at_s)

    async def _ask(self, online: OnlineState, token: str, digest: bytes, entry: Remembered) -> WorkerIdentity:
        """Ask the Server about a token, in the Worker's turn."""
        all_turns, worker_id = self._turns_here(), entry.worker.worker_id
        turns = all_turns.join(worker_id)
        try:
            try:
                async with asyncio.timeout(self._endpoint.timeout_s):
                    await turns.acquire()
            except TimeoutError:
                raise waited_too_long() from None
            try:
                return await self._ask_now(online, token, digest, entry)
            finally:
                turns.release()
        finally:
            all_turns.leave(worker_id)

    def _turns_here(self) -> Turns[asyncio.Semaphore]:
        """Return the turns of this event loop."""
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns[0] is not loop:
            self._turns = (loop, Turns(asyncio.Semaphore))
        return self._turns[1]

    async def _ask_now(
        self, online: OnlineState, token: str, digest: bytes, entry: Remembered
    ) -> WorkerIdentity:
        asked_at_s = self._monotonic()
        asked = online.check.question(token)
        try:
            answer = await asend(self._online_client(), asked, within_s=self._endpoint.timeout_s)
        except UnreachableError as error:
            unavailable = OnlineCheckUnavailableError(f"The Server cannot be asked: {error}")
            return online.not_answered(entry, unavailable, now_s=self._monotonic())
        return self._conclude(online, answer, entry, digest=digest, asked_at_s=asked_at_s)

    def _online_client(self) -> httpx2.AsyncClient:
        """Return the client of this event loop; a new one for another loop, or when the certificates have changed."""
        loop, http = asyncio.get_running_loop(), self._http
        is_first = http is None or http[0] is not loop
        options = online_options(self._endpoint, self._transport, self._tls_ca, is_first=is_first)
        if options is not None:
            if http is not None and not is_first:
                self._replaced.append(http[1])  # other tasks may be using it
            http = self._http = (loop, httpx2.AsyncClient(**options))
        assert http is not None  # noqa: S101 - the first one was made above
        return http[1]
