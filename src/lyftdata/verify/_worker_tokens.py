"""Worker tokens, got when needed, kept, renewed: for all threads and tasks of a process."""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx2

from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.names import parse_worker_id
from lyftdata.core.secret_text import secret_argument, trim
from lyftdata.verify._http import UnreachableError, arequest, checked_ca, client_options, request
from lyftdata.verify._server import Answer, Place, checked_url
from lyftdata.verify._tokens import (
    ApiKeyCredential,
    Credential,
    IdentityCredential,
    TokenKeeper,
    TokenUnavailableError,
    WorkerAuthError,
    offered_nonce,
    read_token_answer,
)
from lyftdata.verify._worker_host import read_worker_host

_TIMEOUT_S = 10.0


class WorkerTokens:
    """
    Worker tokens of one Worker for one audience: got when needed, kept, renewed at two thirds of their life.

    Safe to use from threads and from event loops; never more than one request for a token is under way in each.
    Make one with `with_api_key`, `with_identity` or `from_environment`.

    Args:
        server_url: The Server. https, unless it is this very machine.
        credential: What the Worker proves itself with.
        resource: The service that the token is to be for (RFC 8707); the Server itself if None.
        scope: What the token is to allow, names separated by spaces.
        allow_http: Allow plain http to another machine: whoever listens on the way can take the Worker's place.
        tls_ca: Certificates (PEM) to trust in the place of the system's.
        timeout_s: Bounds one request for a token, whole.
        transport: Put in the place of the network by tests.
        monotonic: Gives seconds on a clock that does not jump.
        chance: Gives a number from 0 up to 1.
    """

    def __init__(
        self,
        server_url: str,
        credential: Credential,
        *,
        resource: str | None = None,
        scope: str | None = None,
        allow_http: bool = False,
        tls_ca: str | Path | None = None,
        timeout_s: float = _TIMEOUT_S,
        transport: Any = None,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        url = checked_url("server_url", server_url, allow_http=allow_http)
        self._place = Place(issuer=url, server_url=url, timeout_s=timeout_s, tls_ca=checked_ca(tls_ca))
        self._credential = credential
        wanted = {"resource": resource, "scope": scope}
        self._wanted = {name: value for name, value in wanted.items() if value is not None}
        self._transport = transport
        self._monotonic = monotonic
        self._keeper = TokenKeeper(chance=chance)
        self._renewing = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def with_api_key(cls, server_url: str, *, worker_id: str, api_key: str, **options: Any) -> Self:
        """Return the tokens of a Worker with an API key; `options` as for the class."""
        credential = ApiKeyCredential(parse_worker_id(trim(worker_id)), secret_argument("api_key", api_key))
        return cls(server_url, credential, **options)

    @classmethod
    def with_identity(
        cls,
        server_url: str,
        *,
        worker_id: str,
        private_key_pem: bytes,
        issuer: str | None = None,
        **options: Any,
    ) -> Self:
        """
        Return the tokens of an enrolled Worker.

        Args:
            server_url: The Server.
            worker_id: The Worker's ID.
            private_key_pem: Its identity key, PKCS #8 (`identity-key.pem` in the Worker's directory).
            issuer: What the Server calls itself, if not `server_url`.
            options: As for the class.

        Raises:
            InvalidInputError: Not a P-256 private key, or no Worker ID.
        """
        key = IdentityKey.from_pem(private_key_pem)
        audience = (issuer or server_url).strip().rstrip("/")
        return cls(
            server_url, IdentityCredential(parse_worker_id(worker_id), key, issuer=audience), **options
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Self:
        """
        Return the tokens of this host's Worker, by the variables that `lyftdata run worker` reads.

        An API key (`LYFTDATA_WORKER_ID`, `LYFTDATA_WORKER_API_KEY` or `…_FILE`), or the identity in
        `LYFTDATA_JOBS_DIR`; this enrolls nobody.

        Raises:
            SettingsError: They name no Worker, or two.
        """
        host = read_worker_host(os.environ if environ is None else environ)
        given = {"allow_http": host.allow_http, "tls_ca": host.tls_ca}
        return cls(host.url, host.credential, **(given | options))

    def get(self) -> str:
        """
        Return a token that is alive; asks the Server only if need be.

        Raises:
            TokenRefusedError: The Server gives this Worker none.
            TokenUnavailableError: The Server cannot be reached, and there is none in hand.
        """
        now_s = self._monotonic()
        if self._keeper.is_due(now_s):
            # While the one in hand is alive one thread renews it, and the others go on.
            if self._renewing.acquire(blocking=self._keeper.usable(now_s) is None):
                try:
                    if self._keeper.is_due(self._monotonic()):  # no other thread has done it
                        self._renew()
                finally:
                    self._renewing.release()
            now_s = self._monotonic()
        return self._keeper.get(now_s)

    async def aget(self) -> str:
        """
        Return a token that is alive; asks the Server only if need be.

        Raises:
            TokenRefusedError: The Server gives this Worker none.
            TokenUnavailableError: The Server cannot be reached, and there is none in hand.
        """
        now_s = self._monotonic()
        if self._keeper.is_due(now_s):
            task = self._under_way() or self._start()
            if self._keeper.usable(now_s) is None:
                # Not awaited itself: a caller that goes away must not end what others are waiting for.
                await asyncio.wait([task])
            now_s = self._monotonic()
        return self._keeper.get(now_s)

    def get_another(self, rejected: str) -> str | None:
        """Return another token than one that a service has answered with 401, or None if there is none to be had."""
        with self._renewing:
            if self._keeper.may_replace(rejected, self._monotonic()):
                self._renew()
        return self._other_than(rejected)

    async def aget_another(self, rejected: str) -> str | None:
        """Return another token than one that a service has answered with 401, or None if there is none to be had."""
        if self._keeper.may_replace(rejected, self._monotonic()):
            await asyncio.wait([self._under_way() or self._start()])
        return self._other_than(rejected)

    def _other_than(self, rejected: str) -> str | None:
        token = self._keeper.usable(self._monotonic())
        return None if token == rejected else token

    def _renew(self) -> None:
        asked_at_s = self._monotonic()
        try:
            with httpx2.Client(**client_options(self._place), transport=self._transport) as http:
                within_s = self._place.timeout_s
                answer = request(http, "POST", self._url, within_s=within_s, data=self._form())
                nonce = self._offered_nonce(answer)
                if nonce is not None:
                    answer = request(http, "POST", self._url, within_s=within_s, data=self._form(nonce))
        except (UnreachableError, OSError) as error:
            self._failed(error)
        else:
            self._take(answer, asked_at_s)

    async def _arenew(self) -> None:
        asked_at_s = self._monotonic()
        try:
            async with httpx2.AsyncClient(**client_options(self._place), transport=self._transport) as http:
                within_s = self._place.timeout_s
                answer = await arequest(http, "POST", self._url, within_s=within_s, data=self._form())
                nonce = self._offered_nonce(answer)
                if nonce is not None:
                    answer = await arequest(
                        http, "POST", self._url, within_s=within_s, data=self._form(nonce)
                    )
        except (UnreachableError, OSError) as error:
            self._failed(error)
        else:
            self._take(answer, asked_at_s)

    def _under_way(self) -> "asyncio.Task[None] | None":
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _start(self) -> "asyncio.Task[None]":
        task = self._task = asyncio.create_task(self._arenew(), name="lyftdata-worker-token")
        return task

    @property
    def _url(self) -> str:
        return f"{self._place.server_url}/oauth2/token"

    def _form(self, nonce: str | None = None) -> dict[str, str]:
        return {"grant_type": "client_credentials"} | self._credential.form(nonce=nonce) | self._wanted

    def _offered_nonce(self, answer: Answer) -> str | None:
        return offered_nonce(answer) if self._credential.signs else None

    def _take(self, answer: Answer, asked_at_s: float) -> None:
        try:
            reply = read_token_answer(answer)
        except WorkerAuthError as error:
            self._keeper.failed(error, now_s=self._monotonic())
        else:
            self._keeper.take(reply, asked_at_s=asked_at_s)

    def _failed(self, error: Exception) -> None:
        problem = TokenUnavailableError(f"The Server cannot be reached: {error}")
        self._keeper.failed(problem, now_s=self._monotonic())
