"""
How a client gets, keeps and renews a worker token: what is due when, without a socket.

    0 ....... 2/3 of its life    used
    2/3 ..... its end            used, while one caller gets the next one
    its end ...                  callers wait for the next one

A renewal that fails is tried again at growing intervals; until the token's end nobody notices.
"""

import math
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Protocol

import msgspec

from lyftdata.core.assertions import make_assertion
from lyftdata.core.errors import LyftdataError
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.nonces import unsafe_nonce_time
from lyftdata.core.text import clean_text
from lyftdata.verify._server import Answer
from lyftdata.watched_file import CurrentApiKey

_RENEW_AT = 2 / 3
# Give or take a quarter, so that a fleet started together drifts apart; as the agent does.
_JITTER = 0.25
_SHORTEST_LIFE_S = 5.0
_LONGEST_LIFE_S = 86_400.0
_FIRST_RETRY_S = 1.0
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class WorkerAuthError(LyftdataError):
    """A request that cannot be sent with a worker token."""

    code = "worker_auth_failed"

    def __str__(self) -> str:
        # A traceback shows this and no attribute.
        return f"{self.message} {self.hint}".rstrip()


class TokenRefusedError(WorkerAuthError):
    """
    The Server gives this Worker no token.

    Args:
        reason: What it said.
        reference: By which an operator finds the whole reason (`lyftdata refusals show REFERENCE`).
        final: Whether asking again is pointless.
        hint: What to do about it, or empty.
    """

    code = "token_refused"

    def __init__(self, reason: str, *, reference: str, final: bool, hint: str = "") -> None:
        said = f", reference {reference}" if reference else ""
        super().__init__(f"The Server refuses this Worker a token{said}: {reason}", hint=hint)
        self.reference = reference
        self.final = final


class TokenUnavailableError(WorkerAuthError):
    """There is no token at the moment: the Server cannot be reached, or gave no usable answer. Asking again is right."""

    code = "token_unavailable"


class OriginNotAllowedError(WorkerAuthError):
    """The request goes to an address that was not named: the token stays here."""

    code = "origin_not_allowed"


class TokenSource(Protocol):
    """
    Where tokens come from: the Server, or the agent that this program runs under.

    Attributes:
        new_for_s: A token younger than this is not replaced after a 401: the next one would fare the same.
        longest_retry_s: The longest pause after failures.
    """

    new_for_s: float
    longest_retry_s: float

    def fetch(self, *, rejected: str | None = None) -> "TokenReply":
        """
        Get a token.

        Args:
            rejected: One that a service has rejected; another one is wanted.

        Raises:
            WorkerAuthError: There is none.
        """
        ...

    async def afetch(self, *, rejected: str | None = None) -> "TokenReply":
        """Get a token; as `fetch`."""
        ...


class Credential(Protocol):
    """Whatever a Worker proves itself with."""

    signs: bool
    """Whether it signs each request, so that a nonce makes a difference."""

    def form(self, *, nonce: str | None = None) -> dict[str, str]:
        """
        Return the parameters that prove it, for one request (RFC 6749, section 2.3).

        Args:
            nonce: One of the Server's, to sign with; a credential that signs nothing has no use for it.
        """
        ...


class ApiKeyCredential:
    """A Worker ID and an API key (`client_secret_post`), which may be rotated while the program runs."""

    signs = False

    def __init__(self, worker_id: str, api_key: CurrentApiKey) -> None:
        self._worker_id = worker_id
        self._api_key = api_key

    def form(self, *, nonce: str | None = None) -> dict[str, str]:  # noqa: ARG002 - nothing is signed
        """Return ID and key."""
        return {"client_id": self._worker_id, "client_secret": self._api_key.read().reveal()}


class IdentityCredential:
    """
    An enrolled Worker's own key (`private_key_jwt`, RFC 7523).

    Args:
        worker_id: The Worker's ID.
        key: Its identity key.
        issuer: What the Server calls itself: the assertion is for it alone.
        now: Gives aware UTC time.
    """

    signs = True

    def __init__(
        self,
        worker_id: str,
        key: IdentityKey,
        *,
        issuer: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._worker_id = worker_id
        self._key = key
        self._issuer = issuer
        self._now = now

    def form(self, *, nonce: str | None = None) -> dict[str, str]:
        """Return an assertion made for this one request: for this host's time, or for that of a nonce."""
        nonce_time = unsafe_nonce_time(nonce or "")
        assertion = make_assertion(
            self._key,
            worker_id=self._worker_id,
            audience=self._issuer,
            now=self._now() if nonce_time is None else nonce_time,
            jti=secrets.token_urlsafe(16),
            nonce=None if nonce_time is None else nonce,
        )
        return {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}


class TokenReply(msgspec.Struct, frozen=True):
    """A token (RFC 6750, section 2.1: characters that fit a header, and nothing else) and its life in seconds."""

    access_token: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._~+/-]+=*$", max_length=16_384)]
    expires_in: float

    def __repr__(self) -> str:
        return "TokenReply(***)"


def offered_nonce(answer: Answer) -> str | None:
    """Return the nonce with which to sign again, if an answer refuses what was signed and brings one."""
    refuses = answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
    return answer.headers.get("lyftdata-nonce") if refuses else None


def read_token_answer(answer: Answer) -> TokenReply:
    """
    Read an answer of the token endpoint (RFC 6749, sections 5.1 and 5.2).

    Raises:
        TokenRefusedError: The Server has said no.
        TokenUnavailableError: That was no answer to this question.
    """
    if answer.status == HTTPStatus.OK:
        try:
            return msgspec.json.decode(answer.body, type=TokenReply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TokenUnavailableError("The Server's answer holds no token.") from error
    body = _object(answer.body)
    passing = answer.status == HTTPStatus.REQUEST_TIMEOUT or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if passing or not isinstance(body.get("error"), str):
        raise TokenUnavailableError(f"The Server answered {answer.status} when asked for a token.")
    final = body.get("final", answer.status != HTTPStatus.TOO_MANY_REQUESTS)
    reason = str(body.get("error_description") or body["error"])
    raise TokenRefusedError(
        clean_text(reason, 300),
        reference=clean_text(str(body.get("reference", "")), 32),
        final=final is not False,
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


class TokenKeeper:
    """
    The token in hand, and what is due. Asks nobody and knows no clock: times are passed in, on one that does not jump.

    Args:
        chance: Gives a number from 0 up to 1.
        new_for_s: As for `TokenSource`.
        longest_retry_s: As for `TokenSource`.
    """

    def __init__(self, *, chance: Callable[[], float], new_for_s: float, longest_retry_s: float) -> None:
        self._chance = chance
        self._new_for_s = new_for_s
        self._longest_retry_s = longest_retry_s
        self._token = ""
        self._got_at_s = -math.inf
        self._renew_at_s = -math.inf
        self._ends_at_s = -math.inf
        self._retry_at_s = -math.inf
        self._failures = 0
        self._problem: WorkerAuthError | None = None

    def usable(self, now_s: float) -> str | None:
        """Return the token, if it is alive."""
        return self._token if now_s < self._ends_at_s else None

    def is_due(self, now_s: float) -> bool:
        """Return whether it is time to ask for the next one."""
        return now_s >= self._renew_at_s and now_s >= self._retry_at_s

    def may_replace(self, rejected: str, now_s: float) -> bool:
        """
        Return whether to ask for another token since a service did not take this one.

        Not if somebody has done so already; and not if it is new: a service that refuses every token must not have
        each request ask for another. The one in hand stays, for services that do take it.
        """
        return (
            rejected == self._token
            and now_s >= self._got_at_s + self._new_for_s
            and now_s >= self._retry_at_s
        )

    def take(self, reply: TokenReply, *, asked_at_s: float) -> None:
        """Keep a token."""
        life_s = min(max(reply.expires_in, _SHORTEST_LIFE_S), _LONGEST_LIFE_S)
        drift = 1 + _JITTER * (2 * self._chance() - 1)
        self._token = reply.access_token
        self._got_at_s = asked_at_s
        self._renew_at_s = asked_at_s + life_s * _RENEW_AT * drift
        self._ends_at_s = asked_at_s + life_s
        self._retry_at_s = -math.inf
        self._failures = 0

    def failed(self, problem: WorkerAuthError, *, now_s: float) -> None:
        """Note that there was none to be had."""
        self._problem = problem
        self._failures += 1
        pause_s = _FIRST_RETRY_S * 2 ** min(self._failures - 1, 10)
        self._retry_at_s = now_s + min(pause_s, self._longest_retry_s)

    def get(self, now_s: float) -> str:
        """
        Return the token in hand.

        Raises:
            WorkerAuthError: There is none; why the last attempt to get one failed.
        """
        token = self.usable(now_s)
        if token is None:
            problem = self._problem or TokenUnavailableError("No token could be got in time.")
            raise problem.with_traceback(None)
        return token
