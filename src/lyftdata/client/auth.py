"""
The rules that all HTTP client integrations share: which requests get a token, and when a request is retried.

    1  the request goes to an origin that was named           else OriginNotAllowedError, before anything is sent
    2  it is sent with a token
    3  401 from such an origin, and the body can be sent again: once more with another token
    4  a redirect to another origin                            followed without the token
"""

from collections.abc import AsyncGenerator, Collection, Generator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, Unpack

from lyftdata.bounded_http import checked_url
from lyftdata.client.errors import OriginNotAllowedError
from lyftdata.client.token_keeper import TokenKeeper, TokenOptions
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.origins import origin_of


class Origins:
    """
    The origins that a token may be sent to.

    Args:
        origins: Scheme, host and port of each service, for example `https://service.example.com`.
        allow_http: Allow plain http to another machine.

    Raises:
        InvalidInputError: No origin, or one that cannot be used.
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
        Check that a token may be sent to an address.

        Raises:
            OriginNotAllowedError: It may not. The request is not sent without a token instead: one that was meant to be a Worker's
                would then fail elsewhere, for no visible reason.
        """
        if url not in self:
            raise OriginNotAllowedError(
                f"{origin_of(url)} is not one of the origins that this token may be sent to.",
                hint="Name it in `origins`, or send this request without this auth.",
            )


class BaseAuth:
    """
    Base of the auth classes; each of them repeats the arguments.

    Args:
        tokens: The source of the tokens.
        origins: The services that may get them: scheme, host and port, for example `https://service.example.com`.
        allow_http: Allow plain http to a service on another machine: anyone who listens on the network then gets the token.
    """

    def __init__(self, tokens: TokenKeeper, *, origins: Collection[str], allow_http: bool = False) -> None:
        self.tokens = tokens
        self._origins = Origins(origins, allow_http=allow_http)

    @classmethod
    def from_environment(
        cls,
        *,
        origins: Collection[str],
        environ: Mapping[str, str] | None = None,
        **options: Unpack[TokenOptions],
    ) -> Self:
        """
        Return the auth of the Worker that this program is.

        Under `lyftdata run worker -- COMMAND` the tokens come from the agent (`LYFTDATA_WORKER_TOKEN_SOCKET`, otherwise
        `LYFTDATA_WORKER_TOKEN_FILE`); without an agent the variables of `lyftdata run worker` name the Worker's own
        credential. See `TokenKeeper.from_environment`.

        Args:
            origins: The services that may get the token: scheme, host and port.
            environ: Used instead of the process's environment.
            options: `resource` (the service's audience), `scope`, `allow_http`, `tls_ca`, `timeout_s`; see `TokenKeeper`.

        Raises:
            SettingsError: The variables name no Worker, or two; or only a token file, although `resource` or `scope` is given; or other users have a right to
                the Worker's directory.
            InvalidInputError: An argument is invalid; the message names it.
        """
        tokens = TokenKeeper.from_environment(environ, **options)
        return cls(tokens, origins=origins, allow_http=options.get("allow_http", False))


class _Request(Protocol):
    """A request of `httpx`, or of `httpx2`."""

    url: Any
    headers: Any
    stream: Any


class _Response(Protocol):
    """A response of `httpx`, or of `httpx2`."""

    status_code: int

    @property
    def request(self) -> Any:
        """Return the request that it answers; after a redirect that is not the first one."""


RequestT = TypeVar("RequestT", bound=_Request)
ResponseT = TypeVar("ResponseT", bound=_Response)


class HttpxFlow(BaseAuth, Generic[RequestT, ResponseT]):
    """The auth flow of `httpx` and `httpx2`, which have the same interface but share no class."""

    _repeatable_stream: ClassVar[type]
    """The type of a body that can be sent again."""

    def sync_auth_flow(self, request: RequestT) -> Generator[RequestT, ResponseT, None]:
        """Send with a token; on 401 send once more with a new one."""
        self._origins.check(str(request.url))
        token = self.tokens.get()
        response = yield _with_token(request, token)
        if self._may_repeat(request, response):
            another = self.tokens.get_another(token)
            if another is not None:
                yield _with_token(request, another)

    async def async_auth_flow(self, request: RequestT) -> AsyncGenerator[RequestT, ResponseT]:
        """Send with a token; on 401 send once more with a new one."""
        self._origins.check(str(request.url))
        token = await self.tokens.aget()
        response = yield _with_token(request, token)
        if self._may_repeat(request, response):
            another = await self.tokens.aget_another(token)
            if another is not None:
                yield _with_token(request, another)

    def _may_repeat(self, request: RequestT, response: ResponseT) -> bool:
        # A 401 from the target of a redirect says nothing about the token, which is not sent there. A body that was read
        # from a stream is gone.
        return (
            response.status_code == HTTPStatus.UNAUTHORIZED
            and str(response.request.url) in self._origins
            and isinstance(request.stream, self._repeatable_stream)
        )


def _with_token(request: RequestT, token: str) -> RequestT:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
