"""
The Worker's side of the wire.

Every answer becomes one of: a value, `ServerUnreachableError` (ask again later), `TokenRejectedError` (get a
new token) or `RefusedByServerError` (final or not). Redirects are never followed: a credential goes to the
address it was meant for, or nowhere. Answers are bounded in size and time.
"""

import ssl
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import httpx2
import msgspec

import lyftdata
from lyftdata.core.errors import LyftdataError
from lyftdata.core.origins import is_loopback
from lyftdata.http_proxies import EnvironmentProxy, find_proxy
from lyftdata.keepalive import keepalive_options
from lyftdata.renewed_connections import RenewedConnections
from lyftdata.unreachable import describe_answer, describe_failure, remedy_for_answer, remedy_for_failure
from lyftdata.worker.server_clock import ServerClock
from lyftdata.worker.settings import WorkerSettings

T = TypeVar("T")

_MAX_ANSWER_BYTES = 65_536
_TIMEOUT = httpx2.Timeout(15.0, connect=10.0)
# A held poll answers when its time is over; this much later the connection counts as dead.
_POLL_SLACK_S = 15.0

_UNAUTHORIZED = 401
_REQUEST_TIMEOUT = 408
_TOO_MANY = 429
_SERVER_ERROR = 500


class ServerUnreachableError(LyftdataError):
    """
    No usable answer: network, an outage, a proxy's limit. Asking again is right.

    Args:
        remedy: What to do about it, if that can be told.
        retry_after_s: Seconds the Server asked for, or None.
        was_cut: Whether the connection was closed, or a proxy gave up (504), while the answer was waited for.
    """

    code = "server_unreachable"

    def __init__(
        self, message: str, *, remedy: str = "", retry_after_s: float | None = None, was_cut: bool = False
    ) -> None:
        super().__init__(message, hint=remedy)
        self.retry_after_s = retry_after_s
        self.was_cut = was_cut


class TokenRejectedError(LyftdataError):
    """
    The session does not accept this token: get a new one; the token endpoint says why if it will not give any.

    Args:
        reference: By which an operator finds the whole reason; empty if the answer was not the Server's.
    """

    code = "token_rejected"

    def __init__(self, *, reference: str = "") -> None:
        super().__init__("The Server does not accept this token.")
        self.reference = reference


class RefusedByServerError(LyftdataError):
    """
    The Server has turned this Worker down.

    Args:
        reason: What it said.
        reference: By which an operator finds the whole reason.
        cause_code: The cause, if the Worker had proved its key.
        final: Whether asking again is pointless.
        retry_after_s: Seconds the Server asked to wait, or None.
        nonce: What to sign with when trying again, or None.
    """

    code = "refused_by_server"
    clock_off = ""
    """How far this host's clock is off, where that may be the cause."""

    def __init__(
        self,
        reason: str,
        *,
        reference: str,
        cause_code: str = "",
        final: bool = True,
        remedy: str = "",
        retry_after_s: float | None = None,
        nonce: str | None = None,
    ) -> None:
        super().__init__(reason, hint=remedy)
        self.reference = reference
        self.cause_code = cause_code
        self.final = final
        self.retry_after_s = retry_after_s
        self.nonce = nonce


class AudienceRefusedError(LyftdataError):
    """
    The Server gives this Worker no token for that audience or scope; its own token still serves.

    Args:
        reason: What it said.
        error: `invalid_target` (RFC 8707) or `invalid_scope` (RFC 6749, section 5.2).
        reference: By which an operator finds the whole reason, or empty.
        cause_code: The cause, or empty.
    """

    code = "audience_refused"

    def __init__(
        self,
        reason: str,
        *,
        error: str = "invalid_target",
        reference: str = "",
        cause_code: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(reason, hint=remedy)
        self.error = error
        self.reference = reference
        self.cause_code = cause_code


class _Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]
    url: str
    proxy: EnvironmentProxy | None


class Directive(msgspec.Struct, frozen=True):
    """What the Server tells a connected Worker to do; kinds that we do not know are ignored."""

    kind: str
    code: str = ""
    final: bool = False
    reason: str = ""
    remedy: str = ""
    reference: str = ""


class PollReply(msgspec.Struct, frozen=True):
    """The answer to a poll."""

    session: str
    hold_s: float = 25.0
    directives: list[Directive] = []


class TokenReply(msgspec.Struct, frozen=True):
    """A token (RFC 6750, section 2.1: characters that fit a header, and nothing else) and its life in seconds."""

    access_token: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._~+/-]+=*$", max_length=16_384)]
    expires_in: float

    def __repr__(self) -> str:
        return "TokenReply(***)"


class Issuers(msgspec.Struct, frozen=True):
    """What the Server calls itself, and what it called itself before it moved."""

    current: str
    previous: tuple[str, ...] = ()


class ServerClient:
    """
    Requests to one Server; close it with `aclose()`.

    Args:
        settings: The Worker's settings.
        transport: Put in the place of the network by tests.
        clock: Which time is signed for; every answer tells it the Server's.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: ServerClock | None = None,
    ) -> None:
        self.server_clock = clock or ServerClock()
        self._url = settings.url
        self._proxy = proxy_of(settings)
        self._connections = RenewedConnections(
            settings.tls_ca if settings.url.startswith("https:") else None,
            make=lambda: _connections(settings, transport),
        )

    async def issuers(self) -> Issuers:
        """Return what the Server calls itself, and what it did before (RFC 8414); raises ServerUnreachableError."""
        answer = await self._request("GET", "/.well-known/oauth-authorization-server")
        issuer = answer.body.get("issuer")
        if answer.status != httpx2.codes.OK or not isinstance(issuer, str):
            raise _unusable(answer)
        previous = answer.body.get("lyftdata_previous_issuers")
        named = previous if isinstance(previous, list) else []
        return Issuers(issuer, tuple(url for url in named if isinstance(url, str)))

    async def register(self, *, credential: str, metadata: Mapping[str, Any]) -> str:
        """
        Enroll (RFC 7591, section 3.1).

        Returns:
            The Worker ID.

        Raises:
            ServerUnreachableError, RefusedByServerError: As described above.
        """
        headers = {"Authorization": f"Bearer {credential}"}
        answer = await self._request("POST", "/oauth2/register", json=metadata, headers=headers)
        worker_id = answer.body.get("client_id")
        if answer.status == httpx2.codes.CREATED and isinstance(worker_id, str):
            return worker_id
        raise _refusal(answer)

    async def token(self, form: Mapping[str, str]) -> TokenReply:
        """
        Ask for a worker token (RFC 6749, section 4.4.2).

        Raises:
            AudienceRefusedError: `form` has a `resource` or a `scope` that the Server gives no tokens for.
            ServerUnreachableError, RefusedByServerError: As described above.
        """
        answer = await self._request("POST", "/oauth2/token", data=form)
        error = answer.body.get("error")
        if ("resource" in form or "scope" in form) and error in {"invalid_target", "invalid_scope"}:
            raise _audience_refusal(answer)
        if answer.status != httpx2.codes.OK:
            raise _refusal(answer)
        return _convert(answer, TokenReply)

    async def nonce(self, worker_id: str) -> str:
        """Return a nonce for this Worker to sign an assertion with; raises ServerUnreachableError."""
        answer = await self._request("POST", "/oauth2/nonce", data={"client_id": worker_id})
        nonce = answer.body.get("nonce")
        if answer.status != httpx2.codes.OK or not isinstance(nonce, str):
            raise _unusable(answer)
        return nonce

    async def poll(self, token: str, body: Mapping[str, Any], *, hold_s: float) -> PollReply:
        """
        Post to the session and wait for what the Server has to say.

        Raises:
            TokenRejectedError, ServerUnreachableError, RefusedByServerError: As described above.
        """
        timeout = httpx2.Timeout(hold_s + _POLL_SLACK_S, connect=10.0)
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self._request(
            "POST", "/api/worker/session", json=body, headers=headers, timeout=timeout
        )
        if answer.status == _UNAUTHORIZED:
            raise TokenRejectedError(reference=_text(answer, "reference")[:32])
        if answer.status != httpx2.codes.OK:
            raise _refusal(answer)
        return _convert(answer, PollReply)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()

    async def _request(self, method: str, path: str, **options: Any) -> _Answer:
        try:
            async with (
                self._connections.use() as http,
                http.stream(method, path, **options) as response,
            ):
                self.server_clock.note(response.headers)
                body = await _bounded(response)
                return _Answer(response.status_code, response.headers, body, self._url, self._proxy)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ssl.SSLError, OSError) as error:
            raise ServerUnreachableError(
                describe_failure(error, url=self._url, proxy=self._proxy),
                remedy=remedy_for_failure(error, url=self._url, proxy=self._proxy),
                was_cut=isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError),
            ) from error


def _connections(settings: WorkerSettings, transport: httpx2.AsyncBaseTransport | None) -> httpx2.AsyncClient:
    tls, proxy = tls_context(settings), proxy_of(settings)
    return httpx2.AsyncClient(
        base_url=settings.url,
        timeout=_TIMEOUT,
        follow_redirects=False,
        headers={"User-Agent": f"lyftdata-worker/{lyftdata.__version__}"},
        verify=tls,
        transport=transport or (_direct_transport(tls) if proxy is None else None),
        proxy=proxy.url if proxy is not None and transport is None else None,
        trust_env=False,
    )


async def _bounded(response: httpx2.Response) -> dict[str, Any]:
    """Read a JSON object of at most 64 KiB; anything else reads as empty, and the status decides."""
    raw = bytearray()
    async for chunk in response.aiter_bytes():
        raw += chunk
        if len(raw) > _MAX_ANSWER_BYTES:
            return {}
    try:
        return msgspec.json.decode(bytes(raw), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _convert(answer: _Answer, kind: type[T]) -> T:
    try:
        return msgspec.convert(answer.body, kind)
    except msgspec.ValidationError as error:
        raise _unusable(answer) from error


def _refusal(answer: _Answer) -> LyftdataError:
    """
    Tell a refusal from an answer that is none of this protocol.

    429 with a reference is a refusal that passes: the credential is wrong, or (at enrollment) others in this network
    sent wrong ones and this one was not looked at. Without a reference it is a proxy's, and says nothing about this Worker.
    """
    reference = answer.body.get("reference")
    passing = answer.status == _REQUEST_TIMEOUT or answer.status >= _SERVER_ERROR
    if passing or not isinstance(reference, str) or not isinstance(answer.body.get("error"), str):
        return _unusable(answer)
    final = answer.body.get("final", answer.status != _TOO_MANY)
    return RefusedByServerError(
        _text(answer, "error_description"),
        reference=reference[:32],
        cause_code=_text(answer, "code"),
        final=final if isinstance(final, bool) else True,
        remedy=_text(answer, "remedy"),
        retry_after_s=_retry_after_s(answer.headers.get("retry-after")),
        nonce=answer.headers.get("lyftdata-nonce"),
    )


def _audience_refusal(answer: _Answer) -> AudienceRefusedError:
    return AudienceRefusedError(
        _text(answer, "error_description") or "The Server gives no tokens for this audience or scope.",
        error=_text(answer, "error"),
        reference=_text(answer, "reference")[:32],
        cause_code=_text(answer, "code"),
        remedy=_text(answer, "remedy"),
    )


def _text(answer: _Answer, name: str) -> str:
    value = answer.body.get(name)
    return value[:300] if isinstance(value, str) else ""


def _unusable(answer: _Answer) -> ServerUnreachableError:
    retry_after_s = _retry_after_s(answer.headers.get("retry-after"))
    said = _text(answer, "error_description")
    if said:
        return ServerUnreachableError(
            f"The Server answered {answer.status}: {said}", retry_after_s=retry_after_s
        )
    location = answer.headers.get("location")
    return ServerUnreachableError(
        describe_answer(answer.status, url=answer.url, location=location, proxy=answer.proxy),
        remedy=remedy_for_answer(answer.status, location=location, proxy=answer.proxy),
        retry_after_s=retry_after_s,
        was_cut=answer.status == httpx2.codes.GATEWAY_TIMEOUT,
    )


def _retry_after_s(value: str | None) -> float | None:
    """Read `Retry-After` in seconds (RFC 9110, section 10.2.3); a date or nonsense counts as not said."""
    return float(value) if value and value.isascii() and value.isdigit() and len(value) <= 6 else None  # noqa: PLR2004


def goes_through_proxies(settings: WorkerSettings) -> bool:
    """
    Return whether `http_proxy` and its like are obeyed.

    Not on the way to this very machine, or over plain http: the proxy would read the key, and could answer for the
    Server. Over TLS it only carries.
    """
    return settings.url.startswith("https:") and not is_loopback(settings.url)


def proxy_of(settings: WorkerSettings) -> EnvironmentProxy | None:
    """Return the proxy on the way to the Server; raises SettingsError if it cannot be used."""
    return find_proxy(settings.url) if goes_through_proxies(settings) else None


def _direct_transport(
    tls: ssl.SSLContext | bool,  # noqa: FBT001 - as the library has it
) -> httpx2.AsyncBaseTransport:
    """Return one that notices a Server that is gone."""
    return httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, socket_options=keepalive_options())


def tls_context(settings: WorkerSettings) -> ssl.SSLContext | bool:
    """Return how the Server's certificate is checked; False for plain http, where there is none."""
    if not settings.url.startswith("https:"):
        return False
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
