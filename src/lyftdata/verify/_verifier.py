"""
The base of the two verifiers: the pure rules, the Server's keys, and the cache of checked tokens.

The verifiers for threads (`_threads`) and for an event loop (`_loop`) differ only in how they wait.

    verify(token)
      1  are the keys fresh enough                  KeyCache; one comparison if so
      2  is this token in the cache                 Memory; its key still published, its exp ahead
      3  otherwise check it                         _rules
         unknown kid, and claims to be for us:      fetch the keys (bounded, single-flight), check once more
      4  online: ask the Server                     unless it confirmed the token less than online_cache_s ago
      5  scopes

The online check comes after the offline one: only tokens with a valid signature reach the Server, so garbage that is sent to
this service is not passed on as load, and no one's token for another service is disclosed to it. Scopes come last, on the
scopes that the online check left.
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

# Resource exhaustion: how many threads may wait at once to learn whether an unknown kid is a new key.
_MAX_WAITING = 2


class Verifier(Generic[TransportT]):
    """
    Base of both verifiers. `WorkerVerifier` and `AsyncWorkerVerifier` repeat the arguments, for editors that show them.

    Args:
        issuer: The Server's issuer (`LYFTDATA_PUBLIC_URL`); its keys are fetched from there. https, unless it is on this
            machine.
        audience: The audience of this service in tokens; compared exactly. The Server's own issuer, if Workers ask for no
            `resource`: every service that accepts that audience accepts the same tokens.
        server_url: The Server's address for this service, if it is not the issuer.
        allow_http: Allow plain http to another machine: an attacker on the network could then let any caller in.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
        leeway_s: How many seconds ahead of this host's clock `iat` and `nbf` may be. `exp` has no leeway.
        timeout_s: Bounds a request to the Server as a whole, in seconds.
        outage_grace_s: How many seconds stale keys are still used while the Server does not answer.
        kid_retry_s: Tokens with unknown `kid`s cause at most one fetch in this many seconds, however many there are.
        remember: How many checked tokens are cached; about 1 KB each.
        online: Ask the Server about every token, so that a disabled Worker is refused at once.
        online_cache_s: How many seconds a confirmation by the Server is reused, 0 to 60.
        online_fail_open: If the Server cannot be asked, rely on the offline check; otherwise refuse (503).
        resource_name: This service's name on the Server (`lyftdata resources`): for the online check of tokens whose
            audience is not the Server itself.
        resource_key: This service's key (`lyftdata resources issue-key`).
        transport: For tests: used instead of the network.
        clock: For tests: returns Unix time in seconds.
        monotonic: For tests: returns seconds of a monotonic clock.

    Raises:
        InvalidInputError: An argument is invalid; the message names it.
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
        self._replaced: list[
            Any
        ] = []  # clients with certificates that were replaced since; closed by close()
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
        """Return the Worker if the Server's answer admits it, or if the policy falls back to the offline check."""
        try:
            return online.answered(entry, answer, asked_at_s=asked_at_s)
        except TokenRevokedError:
            # Freed at once: a revoked token needs no place in the cache. With `online_fail_open` the offline check still accepts it
            # in the next outage: that is what failing open means.
            self._memory.forget(digest)
            raise
        except OnlineCheckUnavailableError as error:
            return online.not_answered(entry, error, now_s=self._monotonic())

    def _record_fetch(self, outcome: PublishedKeys | KeysUnavailableError, *, asked_at_s: float) -> None:
        """Store the keys that a fetch returned, or record that it failed."""
        if isinstance(outcome, PublishedKeys):
            self._cache.succeeded(outcome, asked_at_s=asked_at_s)
        else:
            self._cache.failed(outcome.message, now_s=self._monotonic())
            emit(_log, KEYS_UNAVAILABLE, reason=outcome.message)


def _online_check(
    endpoint: VerifierEndpoint, audience: str, resource_name: str | None, resource_key: str | None
) -> AuthVerify | Introspect:
    """
    Return how the Server is asked about a token.

    The Server describes a resource's token to that resource alone (RFC 7662, section 4), so this needs the resource's key.
    """
    if audience == endpoint.issuer:
        return AuthVerify(endpoint)
    if not resource_name or not resource_key:
        raise InvalidInputError(
            "online",
            "online needs resource_name and resource_key where the audience is not the Server itself "
            "(`lyftdata resources issue-key NAME`).",
        )
    return Introspect(endpoint, name=resource_name, key=secret_argument("resource_key", resource_key))
