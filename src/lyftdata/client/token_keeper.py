"""Gets, keeps and renews worker tokens for all threads and tasks of a process."""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from lyftdata.bounded_http import ServerEndpoint, checked_ca, checked_url
from lyftdata.client.agent_source import source_from_agent
from lyftdata.client.confirmed_name import ConfirmedNameSource
from lyftdata.client.credentials import ApiKeyCredential, Credential, IdentityCredential
from lyftdata.client.environment import counter_in, read_current_key, read_worker_host
from lyftdata.client.errors import WorkerAuthError
from lyftdata.client.server_source import ServerSource, TokenSource
from lyftdata.client.token_state import TokenState
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.names import parse_worker_id
from lyftdata.core.secret_text import secret_argument, trim
from lyftdata.current_secrets import CurrentApiKey

_TIMEOUT_S = 10.0


class TokenOptions(TypedDict, total=False):
    """
    The options of every constructor of `TokenKeeper`.

    Attributes:
        resource: The audience of the service that the token is for (RFC 8707); the Server itself unless given.
        scope: The requested scopes, separated by spaces; all that are granted to the Worker unless given.
        allow_http: Allow plain http to another machine: anyone who listens on the network could then act as the Worker.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
        timeout_s: Bounds one request for a token as a whole; 10 unless given.
        transport: For tests: used instead of the network.
        monotonic: For tests: returns seconds on a clock that does not jump.
        chance: For tests: returns a number from 0 to below 1.
    """

    resource: str | None
    scope: str | None
    allow_http: bool
    tls_ca: str | Path | None
    timeout_s: float
    transport: Any
    monotonic: Callable[[], float]
    chance: Callable[[], float]


class TokenKeeper:
    """
    Gets, keeps and renews the tokens of one Worker for one audience.

    A token is requested when it is first needed, and the next one at two thirds of its lifetime (RFC 6749, section 4.4). A failed request
    is retried at growing intervals, and not before `Retry-After`.

    Safe to use from threads and from event loops; never more than one request for a token is under way in each.

        keeper = TokenKeeper.from_environment(resource="https://files.example.com")
        keeper.get()            # or await keeper.aget(); call it each time: it makes a request only when a new token is due

    Create it with `from_environment`, `with_api_key` or `with_identity`. Each takes these keyword arguments:

    Args:
        resource: The audience of the service that the token is for (RFC 8707); the Server itself unless given.
        scope: The requested scopes, separated by spaces; all that are granted to the Worker unless given.
        allow_http: Allow plain http to another machine: anyone who listens on the network could then act as the Worker.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
        timeout_s: Bounds one request for a token as a whole; 10 unless given.
        transport: For tests: used instead of the network.
        monotonic: For tests: returns seconds on a clock that does not jump.
        chance: For tests: returns a number from 0 to below 1.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._monotonic = monotonic
        self._state = TokenState(chance=chance, new_for_s=source.new_for_s, max_retry_s=source.max_retry_s)
        self._renewing = (os.getpid(), threading.Lock())
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def with_api_key(
        cls, server_url: str, *, worker_id: str, api_key: str, **options: Unpack[TokenOptions]
    ) -> Self:
        """
        Return a keeper for a Worker with an API key.

        Args:
            server_url: The Server. https, unless it is on this machine.
            worker_id: The Worker's ID.
            api_key: Its API key.
            options: `resource`, `scope`, `allow_http`, `tls_ca`, `timeout_s`; see `TokenKeeper`.

        Raises:
            InvalidInputError: An argument is invalid; the message names it.
        """
        credential = ApiKeyCredential(
            parse_worker_id(trim(worker_id)), CurrentApiKey(secret_argument("api_key", api_key))
        )
        return cls._from_server(server_url, credential, options)

    @classmethod
    def with_identity(
        cls,
        server_url: str,
        *,
        worker_id: str,
        private_key_pem: bytes,
        issuer: str | None = None,
        jobs_dir: str | PathLike[str] | None = None,
        **options: Unpack[TokenOptions],
    ) -> Self:
        """
        Return a keeper for an enrolled Worker.

        Args:
            server_url: The Server. https, unless it is on this machine.
            worker_id: The Worker's ID.
            private_key_pem: Its identity key, PKCS #8 (`identity-key.pem` in the Worker's directory).
            issuer: The Server's issuer, if it is not `server_url`.
            jobs_dir: The directory that the key is from (the Worker's LYFTDATA_JOBS_DIR): its signatures are counted there, and the key is
                read again after the agent has rotated it. Needed if the Worker's own programs use the key too, or have used it.
            options: `resource`, `scope`, `allow_http`, `tls_ca`, `timeout_s`; see `TokenKeeper`.

        Raises:
            InvalidInputError: Not a P-256 private key, not a Worker ID, or another invalid argument.
            SettingsError: Other users have a right to `jobs_dir`, or what it holds cannot be read.
        """
        key = IdentityKey.from_pem(private_key_pem)
        audience = (issuer or server_url).strip().rstrip("/")
        known_as = parse_worker_id(trim(worker_id))
        directory = None if jobs_dir is None else Path(jobs_dir).absolute()
        credential = IdentityCredential(
            known_as,
            key,
            issuer=audience,
            counter=None if directory is None else counter_in(directory, known_as),
            read_key=None if directory is None else partial(read_current_key, directory, known_as),
        )
        return cls._from_server(server_url, credential, options)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[TokenOptions]
    ) -> Self:
        """
        Return a keeper for the Worker that this program is.

        The first of these that the environment has is used:

        1. `LYFTDATA_WORKER_TOKEN_SOCKET`: in a program that `lyftdata run worker -- COMMAND` runs, the agent provides the
           tokens, for every `resource` and `scope` that the Worker may have;
        2. `LYFTDATA_WORKER_TOKEN_FILE`: likewise, but only the token for the Server itself;
        3. the Worker's own credential, by the variables of `lyftdata run worker`: `LYFTDATA_WORKER_ID` and
           `LYFTDATA_WORKER_API_KEY` (or `…_FILE`), or the identity in `LYFTDATA_JOBS_DIR`. This enrolls no Worker.

        Args:
            environ: Used instead of the process's environment.
            options: `resource`, `scope`, `allow_http`, `tls_ca`, `timeout_s`; see `TokenKeeper`.

        Raises:
            SettingsError: The variables name no Worker, or two; or only a token file, although `resource` or `scope` is given; or other users have a right to
                the Worker's directory.

        If LYFTDATA_WORKER_NAME is not the name that the identity enrolled under, the first token must carry it: the Worker was renamed
        on the Server. Otherwise `get()` raises WorkerAuthError.
        """
        variables = os.environ if environ is None else environ
        timeout_s = options.get("timeout_s", _TIMEOUT_S)
        agent = source_from_agent(variables, wanted=_wanted(options), timeout_s=timeout_s)
        if agent is not None:
            return cls(agent, **_clocks(options))
        host = read_worker_host(variables)
        given: TokenOptions = {"allow_http": host.allow_http, "tls_ca": host.tls_ca, **options}
        source: TokenSource = _server_source(host.url, host.credential, given)
        if host.unconfirmed is not None:
            source = ConfirmedNameSource(source, host.unconfirmed)
        return cls(source, **_clocks(given))

    @classmethod
    def _from_server(cls, server_url: str, credential: Credential, options: TokenOptions) -> Self:
        return cls(_server_source(server_url, credential, options), **_clocks(options))

    def get(self) -> str:
        """
        Return a valid token; asks the Server only if there is none or its renewal is due.

        Raises:
            TokenRefusedError: The Server gives this Worker none.
            TokenUnavailableError: The Server cannot be reached, and there is no valid token left.
        """
        now_s = self._monotonic()
        if self._state.is_due(now_s):
            # While the present token is valid, one thread renews it and the others use it.
            lock = self._lock()
            if lock.acquire(blocking=self._state.usable(now_s) is None):
                try:
                    if self._state.is_due(self._monotonic()):  # no other thread has done it
                        self._renew()
                finally:
                    lock.release()
            now_s = self._monotonic()
        return self._state.get(now_s)

    async def aget(self) -> str:
        """
        Return a valid token; asks the Server only if there is none or its renewal is due.

        Raises:
            TokenRefusedError: The Server gives this Worker none.
            TokenUnavailableError: The Server cannot be reached, and there is no valid token left.
        """
        now_s = self._monotonic()
        if self._state.is_due(now_s):
            task = self._running_fetch_task() or self._start()
            if self._state.usable(now_s) is None:
                # Not awaited directly: a cancelled caller must not cancel a request that others wait for.
                await asyncio.wait([task])
            now_s = self._monotonic()
        return self._state.get(now_s)

    def get_another(self, rejected: str) -> str | None:
        """Return a token to replace one that a service has answered with 401, or None if none can be obtained."""
        with self._lock():
            if self._state.may_replace(rejected, self._monotonic()):
                self._renew(rejected)
        return self._usable_except(rejected)

    async def aget_another(self, rejected: str) -> str | None:
        """Return a token to replace one that a service has answered with 401, or None if none can be obtained."""
        if self._state.may_replace(rejected, self._monotonic()):
            await asyncio.wait([self._running_fetch_task() or self._start(rejected)])
        return self._usable_except(rejected)

    def _usable_except(self, rejected: str) -> str | None:
        token = self._state.usable(self._monotonic())
        return None if token == rejected else token

    def _lock(self) -> threading.Lock:
        """Return the lock of this process: after a fork, the parent's lock may be held by a thread that does not exist here."""
        if self._renewing[0] != os.getpid():
            self._renewing = (os.getpid(), threading.Lock())
        return self._renewing[1]

    def _renew(self, rejected: str | None = None) -> None:
        asked_at_s = self._monotonic()
        try:
            reply = self._source.fetch(rejected=rejected)
        except WorkerAuthError as error:
            self._state.failed(error, now_s=self._monotonic())
        else:
            self._state.take(reply, asked_at_s=asked_at_s)

    async def _arenew(self, rejected: str | None) -> None:
        asked_at_s = self._monotonic()
        try:
            reply = await self._source.afetch(rejected=rejected)
        except WorkerAuthError as error:
            self._state.failed(error, now_s=self._monotonic())
        else:
            self._state.take(reply, asked_at_s=asked_at_s)

    def _running_fetch_task(self) -> "asyncio.Task[None] | None":
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _start(self, rejected: str | None = None) -> "asyncio.Task[None]":
        task = self._task = asyncio.create_task(self._arenew(rejected), name="lyftdata-worker-token")
        return task


def _server_source(server_url: str, credential: Credential, options: TokenOptions) -> ServerSource:
    url = checked_url("server_url", server_url, allow_http=options.get("allow_http", False))
    endpoint = ServerEndpoint(
        server_url=url,
        timeout_s=options.get("timeout_s", _TIMEOUT_S),
        tls_ca=checked_ca(options.get("tls_ca")),
    )
    return ServerSource(
        endpoint,
        credential,
        resource=options.get("resource"),
        scope=options.get("scope"),
        transport=options.get("transport"),
    )


class _Clocks(TypedDict, total=False):
    monotonic: Callable[[], float]
    chance: Callable[[], float]


def _clocks(options: TokenOptions) -> _Clocks:
    clocks: _Clocks = {}
    if "monotonic" in options:
        clocks["monotonic"] = options["monotonic"]
    if "chance" in options:
        clocks["chance"] = options["chance"]
    return clocks


def _wanted(options: TokenOptions) -> dict[str, str]:
    wanted = {"resource": options.get("resource"), "scope": options.get("scope")}
    return {name: value for name, value in wanted.items() if value is not None}
