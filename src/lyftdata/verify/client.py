"""
The other side: requests to services that check Workers, each with a worker token.

    auth = WorkerAuth.from_environment(origins=["https://service.example.com"])
    with httpx2.Client(auth=auth) as http:
        http.get("https://service.example.com/jobs")

`WorkerAuth` is for `httpx2` (sync and async alike), `RequestsWorkerAuth` for `requests`; both may share one
`WorkerTokens`, which gets, keeps and renews the token for all threads and tasks. A service's 401 causes one new token
and one more attempt. The token goes to the origins that were named, and nowhere else.
"""

from collections.abc import AsyncGenerator, Collection, Generator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import httpx2

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.origins import origin_of
from lyftdata.verify._server import checked_url
from lyftdata.verify._tokens import (
    OriginNotAllowedError,
    TokenRefusedError,
    TokenUnavailableError,
    WorkerAuthError,
)
from lyftdata.verify._worker_tokens import WorkerTokens

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
