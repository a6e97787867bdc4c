"""
What both verifiers share: the pure rules, with the Server's keys kept in hand.

Both kinds decide by these parts and differ in how they wait: threads (`_threads`), or an event loop (`_loop`).

    verify(token)
      1  are the keys in hand fresh enough          KeyCache; one comparison if so
      2  was this very token checked before         Memory; still its key, still before its exp
      3  else check it                              _rules
         an unknown kid, and it reads as ours:      fetch the keys (bounded, single-flight), check once more
      4  online: ask the Server                     unless its yes is younger than online_cache_s
      5  scopes
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from lyftdata.bounded_http import Answer, checked_ca, checked_url
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.log_events.verifier import KEYS_UNAVAILABLE
from lyftdata.core.secret_text import secret_argument
from lyftdata.library_log import emit
from lyftdata.verify._keys import KeyCache, PublishedKeys
from lyftdata.verify._memory import Memory, Remembered
from lyftdata.verify._online import AuthVerify, Introspect, OnlinePolicy, OnlineState
from lyftdata.verify._rules import Expected, verify_token
from lyftdata.verify._server import VerifierEndpoint
from lyftdata.verify.errors import KeysUnavailableError, OnlineCheckUnavailableError, TokenRevokedError
from lyftdata.verify.identity import WorkerIdentity
from lyftdata.watched_file import WatchedFile

_log = logging.getLogger("lyftdata.verify")

TransportT = TypeVar("TransportT")

# Threads that may wait at once to see whether an unknown kid is a new key.
_MAX_WAITING = 2


class Verifier(Generic[TransportT]):
    """
    What both kinds share. `WorkerVerifier` and `AsyncWorkerVerifier` repeat the arguments, for editors that show them.

    Args:
        issuer: What the Server calls itself (`LYFTDATA_PUBLIC_URL`); its keys are fetched from there. https, unless
            it is this very machine.
        audience: What this service is called in tokens meant for it; compared exactly. The Server's own issuer,
            where Workers ask for no `resource`: every service that takes that audience takes the same tokens.
        server_url: Where the Server is reached, if not at its issuer.
        allow_http: Allow plain http to another machine: a listener on the way could then let anyone in.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
        leeway_s: By how many seconds clocks may differ where a token begins. Its end has no leeway.
        timeout_s: Bounds one question to the Server, whole.
        outage_grace_s: For how long after they have ceased to be fresh the keys in hand are used while the Server
            does not answer.
        kid_retry_s: Tokens under unknown keys cause at most one fetch in this time, however many there are.
        remember: How many checked tokens are remembered; about 1 KB each.
        online: Ask the Server about every token, so that a disabled Worker is refused at once.
        online_cache_s: Believe its yes for so many seconds, 0 to 60.
        online_fail_open: When the Server cannot be asked, let the offline check decide; otherwise refuse (503).
        resource_name: What this service is named on the Server (`lyftdata resources`): for the online check of tokens
            whose audience is not the Server itself.
        resource_key: Its key (`lyftdata resources issue-key`).
        transport: For tests: used instead of the network.
        clock: For tests: gives Unix time in seconds.
        monotonic: For tests: gives seconds on a clock that does not jump.

    Raises:
        InvalidInputError: An argument cannot be used; the message names it.
    """

    def __init__(
        self,
        issuer: str,
        *,
        audience: str,
        server_url: str | None = None,
        allow_http: bool = False,
        tls_ca: str | Path | None = None,
        leeway_s: float = 30.0,
        timeout_s: float = 5.0,
        outage_grace_s: float = 86_400.0,
        kid_retry_s: float = 10.0,
        remember: int = 50_000,
        online: bool = False,
        online_cache_s: float = 0.0,
        online_fail_open: bool = False,
        resource_name: str | None = None,
        resource_key: str | None = None,
        transport: TransportT | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not audience:
            raise InvalidInputError("audience", "audience must be what this service is called in its tokens.")
        given = {"leeway_s": leeway_s, "outage_grace_s": outage_grace_s, "remember": remember}
        for name, value in given.items():
            if value < 0:
                raise InvalidInputError(name, f"{name} must not be negative.")
        for name, value in {"timeout_s": timeout_s, "kid_retry_s": kid_retry_s}.items():
            if value <= 0:
                raise InvalidInputError(name, f"{name} must be more than 0.")
        self._endpoint = VerifierEndpoint(
            issuer=checked_url("issuer", issuer, allow_http=allow_http or server_url is not None),
            server_url=checked_url(
                "server_url" if server_url else "issuer", server_url or issuer, allow_http=allow_http
            ),
            timeout_s=timeout_s,
            tls_ca=checked_ca(tls_ca),
        )
        self._expected = Expected(issuer=self._endpoint.issuer, audience=audience, leeway_s=leeway_s)
        self._cache = KeyCache(outage_grace_s=outage_grace_s, kid_retry_s=kid_retry_s)
        self._memory = Memory(remember)
        self._online: OnlineState | None = None
        if online:
            check = _online_check(self._endpoint, audience, resource_name, resource_key)
            policy = OnlinePolicy(check=check, cache_s=online_cache_s, fail_open=online_fail_open)
            self._online = OnlineState(policy)
        self._transport = transport
        self._tls_ca = WatchedFile(self._endpoint.tls_ca)
        self._replaced: list[Any] = []  # clients made before the certificates changed, closed in the end
        self._lock = threading.Lock()  # held for microseconds, when a fetch starts or a client is made
        self._waiting = threading.BoundedSemaphore(_MAX_WAITING)
        self._clock = clock
        self._monotonic = monotonic

    def _verify_and_remember(self, unverified_token: str, digest: bytes) -> Remembered:
        verified = verify_token(
            unverified_token, keys=self._cache.by_kid, expected=self._expected, now_s=self._clock()
        )
        return self._memory.remember(digest, verified)

    def _conclude(
        self, online: OnlineState, answer: Answer, entry: Remembered, *, digest: bytes, asked_at_s: float
    ) -> WorkerIdentity:
        """Return the Worker if the Server's answer lets it in, or leaves it to the offline check."""
        try:
            return online.answered(entry, answer, asked_at_s=asked_at_s)
        except TokenRevokedError:
            self._memory.forget(digest)
            raise
        except OnlineCheckUnavailableError as error:
            return online.not_answered(entry, error, now_s=self._monotonic())

    def _take(self, outcome: PublishedKeys | KeysUnavailableError, *, asked_at_s: float) -> None:
        """Note what a fetch came to."""
        if isinstance(outcome, PublishedKeys):
            self._cache.succeeded(outcome, asked_at_s=asked_at_s)
        else:
            self._cache.failed(outcome.message, now_s=self._monotonic())
            emit(_log, KEYS_UNAVAILABLE, reason=outcome.message)


def _online_check(
    endpoint: VerifierEndpoint, audience: str, resource_name: str | None, resource_key: str | None
) -> AuthVerify | Introspect:
    """Return what the Server is asked about a token: it says something about a resource's to that resource alone."""
    if audience == endpoint.issuer:
        return AuthVerify(endpoint)
    if not resource_name or not resource_key:
        raise InvalidInputError(
            "online",
            "online needs resource_name and resource_key where the audience is not the Server itself "
            "(`lyftdata resources issue-key NAME`).",
        )
    return Introspect(endpoint, name=resource_name, key=secret_argument("resource_key", resource_key))
