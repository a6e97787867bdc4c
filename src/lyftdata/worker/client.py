"""
The Worker's HTTP client of the Server.

Every request ends in one of: a value, `ServerUnreachableError` (retry later), `TokenRejectedError` (get a new token) or
`RefusedByServerError` (final or not). Redirects are never followed: a credential goes to the address that it was meant for, or
nowhere. Answers are bounded in size and time.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx2
import msgspec

import lyftdata
from lyftdata.bounded_http import Answer, Request, UnreachableError, arun, asend, proxy_for, tls_context
from lyftdata.client.credentials import Credential
from lyftdata.client.server_clock import ServerClock
from lyftdata.client.signing import Signing, sign_for_now
from lyftdata.client.token_endpoint import (
    AUDIENCE_ERRORS,
    Refusal,
    TokenReply,
    read_refusal,
    read_token,
    token_exchange,
)
from lyftdata.core.errors import LyftdataError
from lyftdata.core.identity_keys import PublicIdentityKey
from lyftdata.core.log_events.worker import CLOCK_SKEWED
from lyftdata.core.structs import prepare_structs
from lyftdata.core.text import parse_reference
from lyftdata.keepalive import keepalive_options
from lyftdata.log import emit, get_logger
from lyftdata.renewed_connections import RenewedConnections
from lyftdata.unreachable import describe_answer, describe_failure, remedy_for_answer, remedy_for_failure
from lyftdata.worker.settings import WorkerSettings

_log = get_logger(__name__)

_ANSWER_WITHIN_S = 25.0
# Well below that, and below what proxies usually cut.
_APPROVAL_WITHIN_S = 15
_CONNECT_WITHIN_S = 10.0
_MAX_TEXT = 300
# A held poll is answered when its time is over; this much later the connection counts as dead.
_POLL_SLACK_S = 15.0

_UNAUTHORIZED = 401


class ServerUnreachableError(LyftdataError):
    """
    No usable answer (network, outage, a proxy's limit); to be retried.

    Args:
        remedy: What to do about it, if that is known.
        retry_after_s: Seconds that the Server asked to wait, or None.
        was_cut: Whether the connection was closed, or a proxy gave up (504), while waiting for the answer.
        status: The HTTP status of an answer that was not the Server's; 0 if there was no answer.
    """

    code = "server_unreachable"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        retry_after_s: float | None = None,
        was_cut: bool = False,
        status: int = 0,
    ) -> None:
        super().__init__(message, hint=remedy)
        self.retry_after_s: Final = retry_after_s
        self.was_cut: Final = was_cut
        self.status: Final = status


class TokenRejectedError(LyftdataError):
    """
    The session endpoint rejected this token: get a new one; if the token endpoint refuses that, it says why.

    Args:
        reference: An operator finds the whole reason by it; empty if the answer was not the Server's.
    """

    code = "token_rejected"

    def __init__(self, *, reference: str = "") -> None:
        super().__init__("The Server does not accept this token.")
        self.reference: Final = reference


class RefusedByServerError(LyftdataError):
    """
    The Server has refused this Worker.

    Args:
        reason: The reason that it gave.
        reference: An operator finds the whole reason by it.
        cause_code: The cause, if the Worker had proved its key.
        final: Whether retrying is pointless.
        retry_after_s: Seconds that the Server asked to wait, or None.
        clock_skew: How far this host's clock is off, if that may be the cause.
    """

    code = "refused_by_server"

    def __init__(
        self,
        reason: str,
        *,
        reference: str,
        cause_code: str = "",
        final: bool = True,
        remedy: str = "",
        retry_after_s: float | None = None,
        clock_skew: str = "",
    ) -> None:
        super().__init__(reason, hint=remedy)
        self.reference: Final = reference
        self.cause_code: Final = cause_code
        self.final: Final = final
        self.retry_after_s: Final = retry_after_s
        self.clock_skew: Final = clock_skew


class AudienceRefusedError(LyftdataError):
    """
    The Server issues this Worker no token for that audience or scope; its token for the Server stays valid.

    Args:
        reason: The reason that it gave.
        error: `invalid_target` (RFC 8707) or `invalid_scope` (RFC 6749, section 5.2).
        reference: An operator finds the whole reason by it; may be empty.
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
        self.error: Final = error
        self.reference: Final = reference
        self.cause_code: Final = cause_code


class Directive(msgspec.Struct, frozen=True):
    """An instruction of the Server to a connected Worker; unknown kinds are logged and ignored."""

    kind: str
    code: str = ""
    final: bool = False
    reason: str = ""
    remedy: str = ""
    reference: str = ""


class AgentNotice(msgspec.Struct, frozen=True):
    """The Server asks for a newer agent: the minimum version, and the time from which this one is refused (RFC 3339), if any."""

    minimum: str
    refused_from: str | None = None


class PollReply(msgspec.Struct, frozen=True):
    """The answer to a poll."""

    session: str
    hold_s: float = 25.0
    directives: list[Directive] = []
    removed: bool = False
    """Whether the Worker's entry is gone, after an ephemeral Worker has signed off."""
    outdated: AgentNotice | None = None
    """Set while the Server's fleet policy asks for a newer agent."""


prepare_structs(PollReply)


class Registered(msgspec.Struct, frozen=True):
    """The answer to a registration; an ephemeral Worker is removed when it leaves."""

    worker_id: str
    ephemeral: bool = False


class Issuers(msgspec.Struct, frozen=True):
    """The Server's issuer, and its issuers before it moved."""

    current: str
    previous: tuple[str, ...] = ()


class ServerClient:
    """
    Requests to one Server; close it with `aclose()`.

    Args:
        settings: The Worker's settings.
        transport: For tests: used instead of the network.
        clock: Decides which time is signed; it learns the Server's time from every answer.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: ServerClock | None = None,
    ) -> None:
        self._clock = clock or ServerClock(on_skew=warn_of_skew)
        self._url = settings.url
        self._proxy = proxy_for(settings.url)
        self._connections = RenewedConnections(
            settings.tls_ca if settings.url.startswith("https:") else None,
            make=lambda: _connections(settings, transport),
        )

    async def issuers(self) -> Issuers:
        """Return the Server's issuer and its previous issuers from its metadata (RFC 8414); raises ServerUnreachableError."""
        answer = await self._ask(Request("GET", f"{self._url}/.well-known/oauth-authorization-server"))
        body = answer.json_object()
        issuer = body.get("issuer")
        if answer.status != httpx2.codes.OK or not isinstance(issuer, str):
            raise self._unusable(answer)
        previous = body.get("lyftdata_previous_issuers")
        named = previous if isinstance(previous, list) else []
        return Issuers(issuer, tuple(url for url in named if isinstance(url, str)))

    async def register(self, sign: Callable[[Signing], str], *, metadata: Mapping[str, Any]) -> Registered:
        """
        Enroll (RFC 7591, section 3.1).

        Args:
            sign: Makes the initial access token: a proof of the enrollment key, signed for the given time.
            metadata: The Worker's client metadata (RFC 7591, section 2).

        Returns:
            The identity of the Worker from now on.

        Raises:
            ServerUnreachableError, RefusedByServerError: As described above.
        """

        def make(signing: Signing) -> Request:
            headers = {"Authorization": f"Bearer {sign(signing)}"}
            return Request("POST", f"{self._url}/oauth2/register", headers, json=metadata)

        answer = await arun(sign_for_now(self._clock, make), self._ask)
        body = answer.json_object()
        worker_id = body.get("client_id")
        if answer.status == httpx2.codes.CREATED and isinstance(worker_id, str):
            return Registered(worker_id, ephemeral=body.get("ephemeral") is True)
        raise self._refusal(answer, signed_by=self._clock)

    async def token(
        self,
        credential: Credential,
        *,
        resource: str | None = None,
        scope: str | None = None,
        waits_for_approval: bool = False,
    ) -> TokenReply:
        """
        Ask for a worker token (RFC 6749, section 4.4.2).

        Args:
            credential: The credential that the Worker authenticates with.
            resource: The audience of the token (RFC 8707); None for the Server.
            scope: The requested scopes (RFC 6749, section 3.3); None for all that are granted to the Worker.
            waits_for_approval: Whether the Server may hold the request until an operator has approved the Worker.

        Raises:
            AudienceRefusedError: The Server issues no tokens for that `resource` or `scope`.
            ServerUnreachableError, RefusedByServerError: As described above.
        """
        exchange = token_exchange(
            self._url,
            credential,
            self._clock,
            resource=resource,
            scope=scope,
            wait_s=_APPROVAL_WITHIN_S if waits_for_approval else None,
        )
        answer = await arun(exchange, self._ask)
        token = read_token(answer)
        if token is not None:
            credential.note_accepted()
            return token
        signed_by = self._clock if credential.signs else None
        refusal = read_refusal(answer, signed_by=signed_by)
        if refusal is not None:
            credential.note_refused(cause_code=refusal.cause_code, reference=refusal.reference)
        if refusal is not None and refusal.error in AUDIENCE_ERRORS and (resource or scope):
            raise _audience_refusal(refusal)
        raise self._refusal(answer, signed_by=signed_by)

    async def register_next_key(self, credential: Credential, key: PublicIdentityKey) -> None:
        """
        Register the next key, which replaces the identity key at its first use.

        Args:
            credential: The current identity key.
            key: The public half of the next key.

        Raises:
            ServerUnreachableError, RefusedByServerError: As described above.
        """

        def make(signing: Signing) -> Request:
            form = credential.form(signing) | {"next_key": key.canonical_jwk}
            return Request("POST", f"{self._url}/api/worker/identity-key", form=form)

        nonce_request = Request("POST", f"{self._url}/oauth2/nonce", form={"client_id": credential.worker_id})
        answer = await arun(sign_for_now(self._clock, make, nonce_request=nonce_request), self._ask)
        if answer.status == httpx2.codes.OK:
            return
        refusal = read_refusal(answer, signed_by=self._clock)
        if refusal is not None:
            credential.note_refused(cause_code=refusal.cause_code, reference=refusal.reference)
        raise self._refusal(answer, signed_by=self._clock)

    async def poll(self, token: str, body: Mapping[str, Any], *, hold_s: float) -> PollReply:
        """
        Poll the session (`POST /api/worker/session`), and wait until the Server answers.

        Raises:
            TokenRejectedError, ServerUnreachableError, RefusedByServerError: As described above.
        """
        request = Request(
            "POST", f"{self._url}/api/worker/session", {"Authorization": f"Bearer {token}"}, json=body
        )
        answer = await self._ask(request, within_s=hold_s + _POLL_SLACK_S)
        if answer.status == _UNAUTHORIZED:
            raise TokenRejectedError(reference=parse_reference(answer.json_object().get("reference")))
        if answer.status != httpx2.codes.OK:
            raise self._refusal(answer, signed_by=None)
        try:
            return msgspec.json.decode(answer.body, type=PollReply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._unusable(answer) from error

    async def probe_session(self, token: str) -> Answer:
        """
        Return the session endpoint's answer to a probe, which opens no session.

        The Server reads the body only after it has accepted the token, so this shows whether path and Authorization header get
        through. A Server without support for probes finds the body invalid (400).

        Raises:
            ServerUnreachableError: As described above.
        """
        return await self._ask(self._probe(token, probe="now"))

    async def probe_held(self, token: str, *, hold_s: float) -> Answer:
        """Return the answer to a probe that the Server holds for `hold_s` without sending a byte; raises ServerUnreachableError."""
        request = self._probe(token, probe="held", max_hold_s=hold_s)
        return await self._ask(request, within_s=hold_s + _POLL_SLACK_S)

    async def probe_streamed(self, token: str, *, hold_s: float) -> tuple[float, float]:
        """
        Return after how many seconds the first and the last byte of a streamed answer arrived.

        Args:
            token: A worker token.
            hold_s: How many seconds the Server takes to send the answer; the first byte comes after an eighth of that.

        Raises:
            ServerUnreachableError: As described above, or the answer is not that to a probe.
        """
        request = self._probe(token, probe="streamed", max_hold_s=hold_s)
        began_s = time.monotonic()
        first_s = None
        try:
            async with (
                self._connections.use() as http,
                asyncio.timeout(hold_s + _POLL_SLACK_S),
                http.stream(request.method, request.url, **request.options()) as response,
            ):
                async for _ in response.aiter_raw():
                    first_s = first_s or time.monotonic() - began_s
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise self._unreachable(error) from error
        if response.status_code != httpx2.codes.OK or first_s is None:
            raise ServerUnreachableError(
                f"The Server answered {response.status_code}.", status=response.status_code
            )
        return first_s, time.monotonic() - began_s

    def _probe(self, token: str, **body: Any) -> Request:
        headers = {"Authorization": f"Bearer {token}"}
        return Request("POST", f"{self._url}/api/worker/session", headers, json=body)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()

    async def _ask(self, request: Request, *, within_s: float = _ANSWER_WITHIN_S) -> Answer:
        try:
            async with self._connections.use() as http:
                answer = await asend(http, request, within_s=within_s)
        except (UnreachableError, OSError) as error:
            raise self._unreachable(error) from error
        self._clock.note(answer.headers)
        return answer

    def _unreachable(self, error: Exception) -> ServerUnreachableError:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        return ServerUnreachableError(
            describe_failure(cause, url=self._url, proxy=self._proxy),
            remedy=remedy_for_failure(cause, url=self._url, proxy=self._proxy),
            was_cut=isinstance(cause, httpx2.ReadError | httpx2.RemoteProtocolError),
        )

    def _refusal(self, answer: Answer, *, signed_by: ServerClock | None) -> LyftdataError:
        """Return the error for an answer: a refusal by this Server, or ServerUnreachableError for an answer of another program."""
        refusal = read_refusal(answer, signed_by=signed_by)
        if refusal is None:
            return self._unusable(answer)
        return RefusedByServerError(
            refusal.reason,
            reference=refusal.reference,
            cause_code=refusal.cause_code,
            final=refusal.final,
            remedy=refusal.remedy,
            retry_after_s=refusal.retry_after_s,
            clock_skew=refusal.clock_skew,
        )

    def _unusable(self, answer: Answer) -> ServerUnreachableError:
        description = answer.json_object().get("error_description")
        if isinstance(description, str) and description:
            return ServerUnreachableError(
                f"The Server answered {answer.status}: {description[:_MAX_TEXT]}",
                retry_after_s=answer.retry_after_s(),
                status=answer.status,
            )
        location = answer.headers.get("location")
        return ServerUnreachableError(
            describe_answer(answer.status, url=self._url, location=location, proxy=self._proxy),
            remedy=remedy_for_answer(answer.status, location=location, proxy=self._proxy),
            retry_after_s=answer.retry_after_s(),
            was_cut=answer.status == httpx2.codes.GATEWAY_TIMEOUT,
            status=answer.status,
        )


def _audience_refusal(refusal: Refusal) -> AudienceRefusedError:
    return AudienceRefusedError(
        refusal.reason or "The Server gives no tokens for this audience or scope.",
        error=refusal.error,
        reference=refusal.reference,
        cause_code=refusal.cause_code,
        remedy=refusal.remedy,
    )


def _connections(settings: WorkerSettings, transport: httpx2.AsyncBaseTransport | None) -> httpx2.AsyncClient:
    tls = tls_context(settings.url, tls_ca=settings.tls_ca, insecure=settings.tls_insecure)
    proxy = proxy_for(settings.url)
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(None, connect=_CONNECT_WITHIN_S),
        follow_redirects=False,
        headers={"User-Agent": f"lyftdata-worker/{lyftdata.__version__}", "Accept-Encoding": "identity"},
        verify=tls,
        transport=transport or (_direct(tls) if proxy is None else None),
        proxy=proxy.url if proxy is not None and transport is None else None,
        trust_env=False,
    )


def _direct(
    tls: ssl.SSLContext | bool,  # noqa: FBT001 - as the library has it
) -> httpx2.AsyncBaseTransport:
    """Return a transport with TCP keepalive, which notices a Server that vanished."""
    return httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, socket_options=keepalive_options())


def warn_of_skew(skew: str) -> None:
    """Log that this host's clock is off."""
    emit(_log, CLOCK_SKEWED, off=skew)
