"""
The client for the issuer: its metadata, its keys, its token endpoint and its userinfo endpoint.

Each response is bounded in size and time, redirects are not followed, and everything is fetched only when a sign-in needs it: an issuer
that is down neither stops the Server nor delays a Worker. Metadata and keys are cached for ten minutes.
"""

import asyncio
import base64
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import httpx2
import msgspec

from lyftdata.bounded_http import (
    Answer,
    Request,
    ServerEndpoint,
    UnreachableError,
    asend,
    connection_options,
)
from lyftdata.core.errors import IssuerSignInError, IssuerUnavailableError, TooBusyError
from lyftdata.core.id_tokens import IssuerKey, read_keys
from lyftdata.core.origins import is_loopback
from lyftdata.core.text import clean_text
from lyftdata.server.admin.oidc.config import OidcConfig

_ANSWER_WITHIN_S = 10.0
_KEPT_FOR_S = 600.0
# An unknown `kid` may belong to a rotated key, or be made up by a caller: keys are not fetched more often than this.
_MIN_BETWEEN_REFETCHES_S = 30.0
# After a failure the next callers get an error at once, instead of each waiting for the issuer in turn.
_FAILURE_KEPT_FOR_S = 3.0
# Unproven callers can trigger the exchange of a code: at most this many at once, and this many more waiting.
_MAX_AT_ONCE = 4
_MAX_WAITING = 20
_MAX_TOKEN_LENGTH = 32_768

T = TypeVar("T")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the issuer publishes about itself (OpenID Connect Discovery 1.0, section 3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    takes_basic: bool
    sends_iss: bool


class Tokens(msgspec.Struct, frozen=True):
    """The response of the token endpoint to a code."""

    id_token: str
    access_token: str | None

    def __repr__(self) -> str:
        return "Tokens(***)"


class Issuer:
    """
    The client for the issuer.

    Args:
        config: The issuer's settings.
        monotonic: Seconds of a monotonic clock.
        transport: For tests: used instead of the network.
    """

    def __init__(
        self,
        config: OidcConfig,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._config = config
        self._monotonic = monotonic
        self._transport = transport
        self._metadata: _Kept[Metadata] = _Kept(monotonic)
        self._keys: _Kept[tuple[IssuerKey, ...]] = _Kept(monotonic)
        self._gate = asyncio.Semaphore(_MAX_AT_ONCE)
        self._inside = 0

    async def metadata(self) -> Metadata:
        """Return the issuer's metadata; raises IssuerUnavailableError."""
        return await self._metadata.get(self._fetch_metadata)

    async def keys(self) -> tuple[IssuerKey, ...]:
        """Return the issuer's keys; raises IssuerUnavailableError."""
        return await self._keys.get(self._fetch_keys)

    async def newer_keys(self) -> tuple[IssuerKey, ...]:
        """Return the current keys, unless they were fetched just before."""
        return await self._keys.get(self._fetch_keys, max_age_s=_MIN_BETWEEN_REFETCHES_S)

    async def exchange(self, code: str, *, verifier: str) -> Tokens:
        """
        Exchange an authorization code (RFC 6749, section 4.1.3; RFC 7636, section 4.5).

        Raises:
            IssuerSignInError: The issuer rejects the code.
            IssuerUnavailableError: It cannot be reached, or rejects this Server.
            TooBusyError: Too many sign-ins at once.
        """
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._config.redirect_uri,
            "code_verifier": verifier,
        }
        headers, more = self._client_authentication(metadata)
        request = Request(
            "POST",
            metadata.token_endpoint,
            headers={"Accept": "application/json"} | headers,
            form=form | more,
        )
        answer = await self._send_in_turn(request)
        body = answer.json_object()
        if answer.status != 200:  # noqa: PLR2004
            error = clean_text(str(body.get("error", "")), 60)
            if error == "invalid_grant":
                raise IssuerSignInError(
                    "code_refused",
                    "Your identity provider refused the sign-in: its code was used before, or is too old.",
                    hint="Sign in again.",
                )
            raise IssuerUnavailableError(
                f"{metadata.token_endpoint} answered {answer.status} {error}".strip()
            )
        id_token, access_token = body.get("id_token"), body.get("access_token")
        if not isinstance(id_token, str):
            raise IssuerUnavailableError(f"{metadata.token_endpoint} gave no ID token.")
        return Tokens(id_token, access_token if isinstance(access_token, str) else None)

    async def userinfo(self, access_token: str) -> Mapping[str, Any]:
        """Return the claims of the userinfo endpoint (OpenID Connect Core, section 5.3); empty if there is no such endpoint."""
        metadata = await self.metadata()
        # The token is bounded, and cannot break out of its header.
        is_sendable = access_token.isascii() and access_token.isprintable() and " " not in access_token
        if metadata.userinfo_endpoint is None or not is_sendable or len(access_token) > _MAX_TOKEN_LENGTH:
            return {}
        request = Request(
            "GET",
            metadata.userinfo_endpoint,
            headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"},
        )
        answer = await self._send_in_turn(request)
        if answer.status != 200:  # noqa: PLR2004
            raise IssuerUnavailableError(f"{metadata.userinfo_endpoint} answered {answer.status}")
        return answer.json_object()

    def _client_authentication(self, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and form fields that authenticate this client (RFC 6749, section 2.3.1)."""
        config = self._config
        if config.client_secret is None:
            return {}, {"client_id": config.client_id}
        secret = config.client_secret.reveal()
        if not metadata.takes_basic:
            return {}, {"client_id": config.client_id, "client_secret": secret}
        pair = f"{_form_encoded(config.client_id)}:{_form_encoded(secret)}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, {}

    async def _fetch_metadata(self) -> Metadata:
        url = f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration"
        body = await self._get(url)
        # Mix-up: the response must come from the configured issuer (OpenID Connect Discovery, section 4.3).
        if body.get("issuer") != self._config.issuer:
            raise IssuerUnavailableError(f"{url} is about another issuer than LYFTDATA_OIDC_ISSUER.")
        methods = body.get("token_endpoint_auth_methods_supported")
        return Metadata(
            authorization_endpoint=self._endpoint(body, "authorization_endpoint"),
            token_endpoint=self._endpoint(body, "token_endpoint"),
            jwks_uri=self._endpoint(body, "jwks_uri"),
            userinfo_endpoint=self._endpoint(body, "userinfo_endpoint")
            if "userinfo_endpoint" in body
            else None,
            # If it is missing, client_secret_basic is the default.
            takes_basic=not isinstance(methods, list)
            or "client_secret_basic" in methods
            or "client_secret_post" not in methods,
            sends_iss=body.get("authorization_response_iss_parameter_supported") is True,
        )

    def _endpoint(self, body: Mapping[str, Any], name: str) -> str:
        """Return a URL from the metadata; plain http only if the issuer itself is on this machine, without TLS."""
        url = body.get(name)
        is_plain_allowed = self._config.issuer.startswith("http:") and is_loopback(self._config.issuer)
        if (
            isinstance(url, str)
            and url.isascii()
            and url.isprintable()
            and _is_url(url)
            and (url.startswith("https://") or (is_plain_allowed and is_loopback(url)))
        ):
            return url
        raise IssuerUnavailableError(f"The issuer's metadata has no usable {name}.")

    async def _fetch_keys(self) -> tuple[IssuerKey, ...]:
        metadata = await self.metadata()
        keys = read_keys(await self._get(metadata.jwks_uri))
        if not keys:
            raise IssuerUnavailableError(f"{metadata.jwks_uri} has no key that can be used.")
        return keys

    async def _get(self, url: str) -> dict[str, Any]:
        answer = await self._send(Request("GET", url, headers={"Accept": "application/json"}))
        if answer.status != 200:  # noqa: PLR2004
            raise IssuerUnavailableError(f"{url} answered {answer.status}")
        return answer.json_object()

    async def _send_in_turn(self, request: Request) -> Answer:
        if self._inside >= _MAX_AT_ONCE + _MAX_WAITING:
            raise TooBusyError("Too many sign-ins at once. Try again in a few seconds.")
        self._inside += 1
        try:
            async with self._gate:
                return await self._send(request)
        finally:
            self._inside -= 1

    async def _send(self, request: Request) -> Answer:
        parts = urllib.parse.urlsplit(request.url)
        endpoint = ServerEndpoint(
            server_url=f"{parts.scheme}://{parts.netloc}",
            timeout_s=_ANSWER_WITHIN_S,
            tls_ca=self._config.tls_ca,
        )
        try:
            # In a thread: loading the system's certificates takes tens of milliseconds, in which no Worker would be answered.
            options = await asyncio.to_thread(
                connection_options, endpoint, user_agent="lyftdata-server", transport=self._transport
            )
            async with httpx2.AsyncClient(**options) as http:
                return await asend(http, request, within_s=_ANSWER_WITHIN_S)
        except (UnreachableError, OSError) as error:
            raise IssuerUnavailableError(clean_text(str(error), 300)) from error


class _Kept(Generic[T]):
    """A value that is fetched on demand, by one caller at a time, and cached for a while; a failure only briefly."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._fetched_at_s = float("-inf")
        self._failure: IssuerUnavailableError | None = None
        self._failed_at_s = float("-inf")

    async def get(self, fetch: Callable[[], Awaitable[T]], *, max_age_s: float = _KEPT_FOR_S) -> T:
        async with self._lock:
            now_s = self._monotonic()
            if self._value is not None and now_s - self._fetched_at_s < max_age_s:
                return self._value
            if self._failure is not None and now_s - self._failed_at_s < _FAILURE_KEPT_FOR_S:
                raise IssuerUnavailableError(self._failure.detail)
            try:
                value = await fetch()
            except IssuerUnavailableError as error:
                self._failure, self._failed_at_s = error, self._monotonic()
                raise
            self._value, self._fetched_at_s, self._failure = value, self._monotonic(), None
            return value


def _is_url(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname) and not parts.fragment and parts.username is None and parts.port != 0
    except ValueError:
        return False


def _form_encoded(text: str) -> str:
    return urllib.parse.quote_plus(text, safe="")
