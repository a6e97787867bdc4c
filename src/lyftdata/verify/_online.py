"""
Asks the Server about a token (the online check), and decides what applies if the Server does not answer.

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
from lyftdata.core.structs import prepare_structs
from lyftdata.library_log import emit
from lyftdata.verify._memory import Remembered
from lyftdata.verify.errors import OnlineCheckUnavailableError, TokenRevokedError
from lyftdata.verify.identity import WorkerIdentity

_log = logging.getLogger("lyftdata.verify")

_MAX_CACHE_S = 60.0
# With fail_open, a Server that hangs would otherwise delay every request by the full timeout.
_OPEN_FOR_S = 2.0


class OnlineCheck(Protocol):
    """How to ask the Server about a token that has passed the offline check."""

    def question(self, token: str) -> Request:
        """Return the request to send."""
        ...

    def read(self, answer: Answer, worker: WorkerIdentity) -> WorkerIdentity:
        """
        Return the Worker with its current scopes.

        Raises:
            TokenRevokedError: The Server no longer accepts the token.
            OnlineCheckUnavailableError: Not an answer to this question.
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
        """Accept 204 or 401, and nothing else."""
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise TokenRevokedError("The Server no longer accepts this token: see `lyftdata refusals list`.")
        # Fail closed: only 204 with this Worker's ID is a yes. A captive portal or a proxy that answers 204 to everything is
        # not the Server, and a redirect or a 200 page is not an answer.
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


prepare_structs(_Introspection)


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
        """Accept an introspection response about this token (RFC 7662, section 2.2); scopes withdrawn since are removed."""
        if answer.status != HTTPStatus.OK:
            raise _no_answer(answer)
        try:
            introspection = msgspec.json.decode(answer.body, type=_Introspection)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _no_answer(answer) from error
        if not introspection.active:
            raise TokenRevokedError("The Server says that this token is no longer active.")
        # Response mix-up: an answer from a cache or for another request must not vouch for this token.
        if introspection.sub != worker.worker_id or introspection.jti != worker.token_id:
            raise _no_answer(answer)
        # Privilege escalation: an intersection, so an answer can only take scopes away, never add one that was not signed.
        return msgspec.structs.replace(
            worker, scopes=worker.scopes.intersection(introspection.scope.split(" "))
        )


def _no_answer(answer: Answer) -> OnlineCheckUnavailableError:
    hint = ": check resource_name and resource_key" if answer.status == HTTPStatus.UNAUTHORIZED else ""
    return OnlineCheckUnavailableError(f"The Server answered {answer.status} when asked about a token{hint}.")


class OnlinePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the Server is asked about every token.

    Attributes:
        check: The request to the Server.
        cache_s: How many seconds a confirmation is reused without asking; at most 60. A disabled Worker is accepted for that long.
        fail_open: Whether the offline check alone decides while the Server cannot be asked. A disabled Worker is then accepted until
            its token expires; otherwise every Worker is refused (503) until the Server answers.
    """

    check: OnlineCheck
    cache_s: float = 0.0
    fail_open: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.cache_s <= _MAX_CACHE_S:
            raise InvalidInputError("online_cache_s", f"online_cache_s must be 0 to {_MAX_CACHE_S:g}.")


class OnlineState:
    """The outcome of the last online checks; times are seconds of a monotonic clock."""

    def __init__(self, policy: OnlinePolicy) -> None:
        self.check = policy.check
        self._policy = policy
        self._open_until_s: float | None = None

    def recall(self, entry: Remembered, now_s: float) -> WorkerIdentity | None:
        """Return the Worker if the Server need not be asked about it now, otherwise None."""
        if self._open_until_s is not None and now_s < self._open_until_s:
            return entry.worker
        return entry.confirmed if now_s < entry.confirmed_at_s + self._policy.cache_s else None

    def answered(self, entry: Remembered, answer: Answer, *, asked_at_s: float) -> WorkerIdentity:
        """
        Read an answer, and cache a confirmation.

        Raises:
            TokenRevokedError, OnlineCheckUnavailableError: As `OnlineCheck.read`.
        """
        worker = self.check.read(answer, entry.worker)
        self._open_until_s = None
        # From the time of the request, not of the answer: a slow answer must not delay the effect of a revocation.
        entry.confirmed, entry.confirmed_at_s = worker, asked_at_s
        return worker

    def not_answered(
        self, entry: Remembered, error: OnlineCheckUnavailableError, *, now_s: float
    ) -> WorkerIdentity:
        """
        Decide for a token that could not be checked online.

        Raises:
            OnlineCheckUnavailableError: Unless the policy is to fail open.
        """
        # Fail closed by default: an attacker who can cut the way to the Server must not thereby undo a revocation.
        if not self._policy.fail_open:
            raise error
        emit(_log, ONLINE_CHECK_UNAVAILABLE, reason=error.message)
        self._open_until_s = now_s + _OPEN_FOR_S
        return entry.worker
