"""
The other side: requests to services that check Workers, each with a worker token.

    auth = WorkerAuth.from_environment(origins=["https://service.example.com"])
    with httpx2.Client(auth=auth) as http:
        http.get("https://service.example.com/jobs")

`WorkerAuth` is for `httpx2` (sync and async alike), `RequestsWorkerAuth` for `requests`; both may share one
`WorkerTokens`, which gets, keeps and renews the token for all threads and tasks. A service's 401 causes one new token
and one more attempt. The token goes to the origins that were named, and nowhere else.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx2

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.names import parse_worker_id
from lyftdata.core.origins import origin_of
from lyftdata.core.secret import Secret
from lyftdata.verify._http import UnreachableError, arequest, client_options, request
from lyftdata.verify._server import Answer, Place, checked_url
from lyftdata.verify._tokens import (
    ApiKeyCredential,
    Credential,
    IdentityCredential,
    OriginNotAllowedError,
    TokenKeeper,
    TokenRefusedError,
    TokenUnavailableError,
    WorkerAuthError,
    read_token_answer,
)
from lyftdata.verify._worker_host import read_worker_host

if TYPE_CHECKING:
    import requests

__all__ = [
    "OriginNotAllowedError",
    "RequestsWorkerAuth",
    "TokenRefusedError",
    "TokenUnavailableError",
    "WorkerAuth",
    "WorkerAuthError",
    "WorkerTokens",
]

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
        ca = Path(tls_ca) if tls_ca is not None else None
        self._place = Place(issuer=url, server_url=url, timeout_s=timeout_s, tls_ca=ca)
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
        return cls(server_url, ApiKeyCredential(parse_worker_id(worker_id), Secret(api_key)), **options)

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
                answer = request(http, "POST", self._url, within_s=self._place.timeout_s, data=self._form())
        except (UnreachableError, OSError) as error:
            self._failed(error)
        else:
            self._take(answer, asked_at_s)

    async def _arenew(self) -> None:
        asked_at_s = self._monotonic()
        try:
            async with httpx2.AsyncClient(**client_options(self._place), transport=self._transport) as http:
                answer = await arequest(
                    http, "POST", self._url, within_s=self._place.timeout_s, data=self._form()
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

    def _form(self) -> dict[str, str]:
        return {"grant_type": "client_credentials"} | self._credential.form() | self._wanted

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


class _Origins:
    """
    Where a token may go.

    Args:
        origins: Scheme, host and port of each service, for example `https://service.example.com`.
        allow_http: Allow plain http to another machine.
    """

    def __init__(self, origins: Collection[str], *, allow_http: bool) -> None:
        if isinstance(origins, str) or not origins:
            raise InvalidInputError("origins", "origins must be a list like ['https://service.example.com'].")
        self._origins = frozenset(
            origin_of(checked_url("origins", origin, allow_http=allow_http)) for origin in origins
        )

    def __contains__(self, url: str) -> bool:
        return origin_of(url) in self._origins

    def check(self, url: str) -> None:
        """
        Make sure that a token may go there.

        Raises:
            OriginNotAllowedError: It may not. Raised rather than sent without: a request that was meant to be a
                Worker's would otherwise fail somewhere else, for no visible reason.
        """
        if url not in self:
            raise OriginNotAllowedError(
                f"{origin_of(url)} is none of the origins that this token may be sent to.",
                hint="Name it in `origins`, or send this request without this auth.",
            )


class _Auth:
    """
    What both kinds share.

    Args:
        tokens: Where the tokens come from.
        origins: The services that may see them: scheme, host and port, for example `https://service.example.com`.
        allow_http: Allow plain http to a service on another machine: whoever listens on the way has the token then.
    """

    def __init__(self, tokens: WorkerTokens, *, origins: Collection[str], allow_http: bool = False) -> None:
        self.tokens = tokens
        self._origins = _Origins(origins, allow_http=allow_http)

    @classmethod
    def from_environment(
        cls, *, origins: Collection[str], environ: Mapping[str, str] | None = None, **options: Any
    ) -> Self:
        """
        Return the auth of this host's Worker, by the variables that `lyftdata run worker` reads.

        Args:
            origins: As for the class.
            environ: In the place of the process's environment.
            options: As for `WorkerTokens`, for example `resource=` and `scope=`.

        Raises:
            SettingsError: They name no Worker, or two.
        """
        tokens = WorkerTokens.from_environment(environ, **options)
        return cls(tokens, origins=origins, allow_http=bool(options.get("allow_http")))


class WorkerAuth(_Auth, httpx2.Auth):
    """An auth of `httpx2`, for `Client` and `AsyncClient`. Arguments as for both kinds: tokens, origins, allow_http."""

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send with a token; on 401 once more with another one."""
        self._origins.check(str(request.url))
        token = self.tokens.get()
        response = yield _with_token(request, token)
        if self._may_repeat(request, response):
            another = self.tokens.get_another(token)
            if another is not None:
                yield _with_token(request, another)

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send with a token; on 401 once more with another one."""
        self._origins.check(str(request.url))
        token = await self.tokens.aget()
        response = yield _with_token(request, token)
        if self._may_repeat(request, response):
            another = await self.tokens.aget_another(token)
            if another is not None:
                yield _with_token(request, another)

    def _may_repeat(self, request: httpx2.Request, response: httpx2.Response) -> bool:
        # A 401 from where a redirect led says nothing about the token, which httpx2 does not send there. A body that
        # was read from a stream is gone.
        return (
            response.status_code == HTTPStatus.UNAUTHORIZED
            and str(response.request.url) in self._origins
            and isinstance(request.stream, httpx2.ByteStream)
        )


def _with_token(request: httpx2.Request, token: str) -> httpx2.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


class RequestsWorkerAuth(_Auth):
    """
    An auth of `requests` (`auth=` takes any callable). Arguments as for both kinds: tokens, origins, allow_http.

    `requests` itself is not needed to import this.
    """

    def __call__(self, prepared: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Put a token into a request that is about to be sent."""
        self._origins.check(prepared.url or "")
        token = self.tokens.get()
        prepared.headers["Authorization"] = f"Bearer {token}"

        def on_response(response: "requests.Response", **options: Any) -> "requests.Response":
            return self._once_more(response, token, options)

        prepared.register_hook("response", on_response)  # type: ignore[no-untyped-call]
        return prepared

    def _once_more(
        self, response: "requests.Response", token: str, options: dict[str, Any]
    ) -> "requests.Response":
        """On 401 send once more, with another token."""
        if response.status_code != HTTPStatus.UNAUTHORIZED or not self._may_repeat(response.request):
            return response
        another = self.tokens.get_another(token)
        if another is None:
            return response
        _ = response.content  # read to its end, so that the connection can be used again
        response.close()
        again = response.request.copy()
        again.headers["Authorization"] = f"Bearer {another}"
        answer: requests.Response = response.connection.send(again, **options)
        answer.history.append(response)
        answer.request = again
        return answer

    def _may_repeat(self, sent: "requests.PreparedRequest") -> bool:
        # `requests` takes this hook along a redirect: what is no service of ours is answered with no token. A body
        # that was read from a stream is gone.
        body: object = sent.body  # the stubs know of no streams
        return str(sent.url) in self._origins and (body is None or isinstance(body, str | bytes))
