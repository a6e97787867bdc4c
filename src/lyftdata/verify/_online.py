"""
The online check: what the Server is asked about a token, when, and what holds when it does not answer.

    a token for the Server itself   GET {server}/auth/verify, with the token       204 and the Worker's ID, or 401
    a token for a resource          POST {server}/oauth2/introspect (RFC 7662)     active, or not
                                    by the resource's own name and key
"""

import logging
from http import HTTPStatus
from typing import Protocol

import msgspec

from lyftdata.bounded_http import Answer, Request, ServerEndpoint
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.log_events.verifier import ONLINE_CHECK_UNAVAILABLE
from lyftdata.core.secret import Secret
from lyftdata.library_log import emit
from lyftdata.verify._memory import Remembered
from lyftdata.verify.errors import OnlineCheckUnavailableError, TokenRevokedError
from lyftdata.verify.identity import WorkerIdentity

_log = logging.getLogger("lyftdata.verify")

_MAX_CACHE_S = 60.0
# Failing open, a Server that hangs would otherwise cost every request its whole time.
_OPEN_FOR_S = 2.0


class OnlineCheck(Protocol):
    """How the Server is asked about a token that was checked offline before."""

    def question(self, token: str) -> Request:
        """Return what to ask."""
        ...

    def read(self, answer: Answer, worker: WorkerIdentity) -> WorkerIdentity:
        """
        Return the Worker with what it may do now.

        Raises:
            TokenRevokedError: The Server takes the token no more.
            OnlineCheckUnavailableError: That was no answer to this question.
        """
        ...


class AuthVerify:
    """`GET /auth/verify`: for tokens whose audience is the Server itself."""

    def __init__(self, endpoint: ServerEndpoint) -> None:
        self._url = f"{endpoint.server_url}/auth/verify"

    def question(self, token: str) -> Request:
        """Ask with the token, as its bearer would."""
        return Request("GET", self._url, {"Authorization": f"Bearer {token}"})

    def read(self, answer: Answer, worker: WorkerIdentity) -> WorkerIdentity:
        """Take 204 or 401, and nothing else."""
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise TokenRevokedError("The Server takes this token no more: see `lyftdata refusals list`.")
        # The Worker's ID is asked for too: a proxy or a portal that says 204 to everything is not the Server.
        if (
            answer.status != HTTPStatus.NO_CONTENT
            or answer.headers.get("x-lyftdata-worker-id") != worker.worker_id
        ):
            raise _no_answer(answer)
        return worker


class _Introspection(msgspec.Struct):
    active: bool
    sub: str = ""
    jti: str = ""
    scope: str = ""


class Introspect:
    """
    `POST /oauth2/introspect`: for tokens whose audience is a resource.

    Args:
        endpoint: The Server.
        name: The resource's name on the Server.
        key: Its key (`lyftdata resources issue-key`).
    """

    def __init__(self, endpoint: ServerEndpoint, *, name: str, key: Secret) -> None:
        self._url = f"{endpoint.server_url}/oauth2/introspect"
        self._name = name
        self._key = key

    def question(self, token: str) -> Request:
        """Ask as the resource (`client_secret_post`)."""
        form = {"token": token, "client_id": self._name, "client_secret": self._key.reveal()}
        return Request("POST", self._url, form=form)

    def read(self, answer: Answer, worker: WorkerIdentity) -> WorkerIdentity:
        """Take an introspection response about this very token; a scope that was taken back since is gone."""
        if answer.status != HTTPStatus.OK:
            raise _no_answer(answer)
        try:
            told = msgspec.json.decode(answer.body, type=_Introspection)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _no_answer(answer) from error
        if not told.active:
            raise TokenRevokedError("The Server says that this token is active no more.")
        if told.sub != worker.worker_id or told.jti != worker.token_id:
            raise _no_answer(answer)
        return msgspec.structs.replace(worker, scopes=worker.scopes.intersection(told.scope.split(" ")))


def _no_answer(answer: Answer) -> OnlineCheckUnavailableError:
    hint = ": check resource_name and resource_key" if answer.status == HTTPStatus.UNAUTHORIZED else ""
    return OnlineCheckUnavailableError(f"The Server answered {answer.status} when asked about a token{hint}.")


class OnlinePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the Server is asked about every token.

    Attributes:
        check: What it is asked.
        cache_s: For how many seconds its yes is believed again without asking; at most 60.
        fail_open: Whether, when it cannot be asked, the offline check alone decides. A Worker that was disabled then
            gets in until its token ends; otherwise every Worker is refused (503) until the Server answers.
    """

    check: OnlineCheck
    cache_s: float = 0.0
    fail_open: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.cache_s <= _MAX_CACHE_S:
            raise InvalidInputError("online_cache_s", f"online_cache_s must be 0 to {_MAX_CACHE_S:g}.")


class OnlineState:
    """What the last questions came to; times on a clock that does not jump."""

    def __init__(self, policy: OnlinePolicy) -> None:
        self.check = policy.check
        self._policy = policy
        self._open_until_s: float | None = None

    def recall(self, entry: Remembered, now_s: float) -> WorkerIdentity | None:
        """Return the Worker, if the Server need not be asked about it now."""
        if self._open_until_s is not None and now_s < self._open_until_s:
            return entry.worker
        return entry.confirmed if now_s < entry.confirmed_at_s + self._policy.cache_s else None

    def answered(self, entry: Remembered, answer: Answer, *, asked_at_s: float) -> WorkerIdentity:
        """
        Take an answer.

        Raises:
            TokenRevokedError, OnlineCheckUnavailableError: As `OnlineCheck.read`.
        """
        worker = self.check.read(answer, entry.worker)
        self._open_until_s = None
        entry.confirmed, entry.confirmed_at_s = worker, asked_at_s
        return worker

    def not_answered(
        self, entry: Remembered, error: OnlineCheckUnavailableError, *, now_s: float
    ) -> WorkerIdentity:
        """
        Decide what holds when the Server cannot be asked.

        Raises:
            OnlineCheckUnavailableError: Unless the policy is to fail open.
        """
        if not self._policy.fail_open:
            raise error
        emit(_log, ONLINE_CHECK_UNAVAILABLE, reason=error.message)
        self._open_until_s = now_s + _OPEN_FOR_S
        return entry.worker
