"""
Reads the Server's published keys (JWKS), and decides how long they are used.

Ages count from the moment of the request (`fresh_s` is the Server's `max-age`, held between 30 s and 1 h):

    0 ......... fresh_s/2    used
    fresh_s/2 . fresh_s      used, and refreshed in the background
    fresh_s ...              stale: the caller waits for a refresh
    ... and the Server does not answer
                             still used, refreshed in the background at growing intervals
    from fresh_s + outage_grace_s
                             no longer used

So a withdrawn key, for example a stolen one, verifies nothing after `fresh_s` while the Server can be reached, and nothing
after `fresh_s + outage_grace_s` in any case: an attacker who blocks the way to the Server gains no more than that.
"""

import math
import random
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import msgspec
from joserfc.jwk import ECKey, OKPKey

from lyftdata.core.backoff import Backoff
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import parse_public_jwk
from lyftdata.core.structs import prepare_structs
from lyftdata.verify.errors import KeysUnavailableError

_MAX_KEYS = 64
_MIN_FRESH_S = 30.0
_MAX_FRESH_S = 3600.0
_USUAL_FRESH_S = 300.0
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,10})\"?\s*(?=,|$)", re.IGNORECASE)
_DO_NOT_KEEP = re.compile(r"(?:^|,)\s*no-(?:store|cache)\s*(?=,|=|$)", re.IGNORECASE)


class PublishedKey(msgspec.Struct, frozen=True, eq=False):
    """
    A key that the Server publishes; the same object for as long as the key is published unchanged.

    `algorithms` are the `alg` values that it may sign with: the one that its JWK names, otherwise those of its key type.
    """

    kid: str
    algorithms: tuple[str, ...]
    key: ECKey | OKPKey
    canonical_jwk: str


class PublishedKeys(msgspec.Struct, frozen=True):
    """One JWKS answer: keys by `kid`, and for how many seconds they are fresh."""

    by_kid: dict[str, PublishedKey]
    fresh_s: float


class _JwkSet(msgspec.Struct):
    keys: list[dict[str, Any]]


prepare_structs(_JwkSet)


def read_jwks(body: bytes, *, cache_control: str) -> PublishedKeys:
    """
    Read a JWK Set (RFC 7517, section 5).

    Keys that cannot verify worker tokens (another key type, no `kid`, for encryption) are ignored, as the RFC says.

    Raises:
        KeysUnavailableError: Not a JWK Set, or no key in it that worker tokens could be signed with.
    """
    try:
        unverified = msgspec.json.decode(body, type=_JwkSet).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeysUnavailableError("The Server's JWKS cannot be read.") from error
    by_kid: dict[str, PublishedKey] = {}
    # Resource exhaustion: a JWKS with very many keys would cost one curve-point check for each.
    for jwk in unverified[:_MAX_KEYS]:
        key = _read_key(jwk)
        if key is not None:
            # Key substitution: of two keys under one `kid` the first counts, so an appended key cannot replace a known one.
            by_kid.setdefault(key.kid, key)
    if not by_kid:
        raise KeysUnavailableError("The Server's JWKS holds no key that worker tokens are signed with.")
    return PublishedKeys(by_kid, fresh_for_s(cache_control))


def _read_key(jwk: Mapping[str, Any]) -> PublishedKey | None:
    kid, algorithm = jwk.get("kid"), jwk.get("alg")
    try:
        # Refuses symmetric keys and private halves: a key that others hold too could forge every token.
        public = parse_public_jwk(jwk)
    except InvalidInputError:
        return None
    if not isinstance(kid, str) or not kid:
        return None
    # Algorithm confusion: the published JWK, not the token, says which algorithm the key is for (RFC 8725, section 3.1).
    algorithms = (algorithm,) if isinstance(algorithm, str) else public.algorithms
    return PublishedKey(kid, algorithms, public.key, public.canonical_jwk)


def fresh_for_s(cache_control: str) -> float:
    """Return for how many seconds an answer is fresh (RFC 9111, section 5.2.2): 30 to 3,600."""
    if _DO_NOT_KEEP.search(cache_control):
        return _MIN_FRESH_S
    found = _MAX_AGE.search(cache_control)
    if found is None:
        return _USUAL_FRESH_S
    # Stale keys: a cache in front of the Server that writes a year must not keep a withdrawn key in use for a year. The lower
    # bound protects the Server: `max-age=0` would make each token cost a fetch.
    return min(max(float(found[1]), _MIN_FRESH_S), _MAX_FRESH_S)


class Step(Enum):
    """What a caller has to do before it uses the keys, given their age."""

    NOTHING = auto()
    FETCH_BEHIND = auto()
    FETCH_AND_WAIT = auto()


class KeyCache:
    """
    Holds the keys and says what is due; without I/O and without a clock: times are passed in, from a monotonic clock.

    Args:
        outage_grace_s: For how many seconds stale keys are used while the Server does not answer.
        kid_retry_s: Unknown `kid`s cause at most one fetch in so many seconds.
    """

    def __init__(self, *, outage_grace_s: float, kid_retry_s: float) -> None:
        self.by_kid: Mapping[str, PublishedKey] = {}
        self.due_at_s = -math.inf
        """Before this time nothing is due: the only comparison that a cached token costs."""
        self._outage_grace_s = outage_grace_s
        self._kid_retry_s = kid_retry_s
        self._fetched_at_s = -math.inf
        self._fresh_s = _USUAL_FRESH_S
        self._asked_at_s = -math.inf
        self._backoff = Backoff(random=random.random)
        self._retry_at_s = -math.inf
        self._problem = "The Server's keys have not been fetched yet."

    def next_step(self, now_s: float) -> Step:
        """Return what is to be done before (or while) the keys are used."""
        if now_s < self.due_at_s or now_s < self._retry_at_s:
            return Step.NOTHING
        if not self._usable(now_s):
            return Step.FETCH_AND_WAIT
        if now_s < self._fetched_at_s + self._fresh_s / 2:
            return Step.NOTHING
        # Denial of service: in an outage no request waits for a retry; the keys in hand serve until the grace is over.
        old = now_s >= self._fetched_at_s + self._fresh_s
        return Step.FETCH_AND_WAIT if old and not self._backoff.failures else Step.FETCH_BEHIND

    def may_fetch_for_kid(self, now_s: float) -> bool:
        """Return whether an unknown `kid` may cause a fetch now."""
        # Amplification: anyone can invent `kid`s. However many arrive, the Server gets one request in `kid_retry_s`.
        return now_s >= max(self._asked_at_s + self._kid_retry_s, self._retry_at_s)

    def check_usable(self, now_s: float) -> None:
        """
        Raise unless there are keys that may be used.

        Raises:
            KeysUnavailableError: There are none, or they are older than the grace allows.
        """
        if not self._usable(now_s):
            raise KeysUnavailableError(self._problem)

    def check_answers(self) -> None:
        """
        Raise unless the last fetch succeeded: only then is "unknown key" a statement about the token.

        Raises:
            KeysUnavailableError: The last fetch failed.
        """
        if self._backoff.failures:
            raise KeysUnavailableError(self._problem)

    def begin(self, now_s: float) -> None:
        """Record that a fetch has started."""
        self._asked_at_s = now_s

    def succeeded(self, published: PublishedKeys, *, asked_at_s: float) -> None:
        """Store what the Server published; unchanged keys stay the same objects, so cached tokens stay valid."""
        # Revocation: replaced, never merged. A key that has left the JWKS must not survive here.
        self.by_kid = {kid: self._keep_unchanged(key) for kid, key in published.by_kid.items()}
        self._fetched_at_s = asked_at_s
        self._fresh_s = published.fresh_s
        self._backoff.reset()
        self._retry_at_s = -math.inf
        self.due_at_s = asked_at_s + published.fresh_s / 2

    def failed(self, problem: str, *, now_s: float) -> None:
        """Record that a fetch failed."""
        self._problem = problem
        self._retry_at_s = now_s + self._backoff.next_s()
        self.due_at_s = max(self.due_at_s, min(self._retry_at_s, self._unusable_at_s()))

    def _keep_unchanged(self, new: PublishedKey) -> PublishedKey:
        old = self.by_kid.get(new.kid)
        same = old is not None and old.canonical_jwk == new.canonical_jwk and old.algorithms == new.algorithms
        return old if same and old is not None else new

    def _unusable_at_s(self) -> float:
        return self._fetched_at_s + self._fresh_s + self._outage_grace_s

    def _usable(self, now_s: float) -> bool:
        return now_s < self._unusable_at_s()
