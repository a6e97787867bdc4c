"""
The Server's published keys: how they are read, and how long they are used.

How long, counted from when they were asked for (`fresh_s` is the Server's `max-age`, held between 30 s and 1 h):

    0 ......... fresh_s/2    used
    fresh_s/2 . fresh_s      used, and refreshed in the background
    fresh_s ...              not used before they were refreshed: the caller waits for that
    ... and the Server does not answer
                             used on, fetched behind the caller's back at growing intervals,
    until fresh_s + outage_grace_s
                             when they are used no more

So a key that has left the JWKS opens nothing after `fresh_s` while the Server can be reached, and after
`fresh_s + outage_grace_s` in any case.
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
from lyftdata.verify.errors import KeysUnavailableError

_MAX_KEYS = 64
_MIN_FRESH_S = 30.0
_MAX_FRESH_S = 3600.0
_USUAL_FRESH_S = 300.0
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,10})\"?\s*(?=,|$)", re.IGNORECASE)
_DO_NOT_KEEP = re.compile(r"(?:^|,)\s*no-(?:store|cache)\s*(?=,|=|$)", re.IGNORECASE)


class PublishedKey(msgspec.Struct, frozen=True, eq=False):
    """
    A key of the Server's, by identity: the same object stays as long as the key is published unchanged.

    `algorithms` are the `alg` values it may have signed with: the one that its JWK names, else those of its kind.
    """

    kid: str
    algorithms: tuple[str, ...]
    key: ECKey | OKPKey
    canonical_jwk: str


class PublishedKeys(msgspec.Struct, frozen=True):
    """One answer of the Server's: keys by `kid`, and for how long they are fresh."""

    by_kid: dict[str, PublishedKey]
    fresh_s: float


class _JwkSet(msgspec.Struct):
    keys: list[dict[str, Any]]


def read_jwks(body: bytes, *, cache_control: str) -> PublishedKeys:
    """
    Read a JWK Set (RFC 7517, section 5).

    Keys that are not for us (another kind, no `kid`, for encryption) are passed over, as the RFC wants it.

    Raises:
        KeysUnavailableError: Not a JWK Set, or no key in it that worker tokens could be signed with.
    """
    try:
        unverified = msgspec.json.decode(body, type=_JwkSet).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeysUnavailableError("The Server's JWKS cannot be read.") from error
    by_kid: dict[str, PublishedKey] = {}
    for jwk in unverified[:_MAX_KEYS]:
        key = _read_key(jwk)
        if key is not None:
            # Of two keys under one kid the first counts; our Server's kids are thumbprints, so there are none.
            by_kid.setdefault(key.kid, key)
    if not by_kid:
        raise KeysUnavailableError("The Server's JWKS holds no key that worker tokens are signed with.")
    return PublishedKeys(by_kid, fresh_for_s(cache_control))


def _read_key(jwk: Mapping[str, Any]) -> PublishedKey | None:
    kid, algorithm = jwk.get("kid"), jwk.get("alg")
    try:
        public = parse_public_jwk(jwk)
    except InvalidInputError:
        return None
    if not isinstance(kid, str) or not kid:
        return None
    algorithms = (algorithm,) if isinstance(algorithm, str) else public.algorithms
    return PublishedKey(kid, algorithms, public.key, public.canonical_jwk)


def fresh_for_s(cache_control: str) -> float:
    """Return for how long an answer is fresh (RFC 9111, section 5.2.2), within sane bounds."""
    if _DO_NOT_KEEP.search(cache_control):
        return _MIN_FRESH_S
    found = _MAX_AGE.search(cache_control)
    if found is None:
        return _USUAL_FRESH_S
    return min(max(float(found[1]), _MIN_FRESH_S), _MAX_FRESH_S)


class Step(Enum):
    """What the keys' age asks of a caller."""

    NOTHING = auto()
    FETCH_BEHIND = auto()
    FETCH_AND_WAIT = auto()


class KeyCache:
    """
    The keys in hand, and what is due. Asks nobody and knows no clock: times are passed in, on one that does not jump.

    Args:
        outage_grace_s: For how long after they have ceased to be fresh keys are used while the Server does not answer.
        kid_retry_s: An unknown `kid` causes a fetch at most once in this time.
    """

    def __init__(self, *, outage_grace_s: float, kid_retry_s: float) -> None:
        self.by_kid: Mapping[str, PublishedKey] = {}
        self.due_at_s = -math.inf
        """Before this there is nothing to do: the one comparison that a remembered token pays for."""
        self._outage_grace_s = outage_grace_s
        self._kid_retry_s = kid_retry_s
        self._fetched_at_s = -math.inf
        self._fresh_s = _USUAL_FRESH_S
        self._asked_at_s = -math.inf
        self._backoff = Backoff(random=random.random)
        self._retry_at_s = -math.inf
        self._problem = "The Server's keys have not been fetched yet."

    def next_step(self, now_s: float) -> Step:
        """Return what is to be done before (or while) keys are used."""
        if now_s < self.due_at_s or now_s < self._retry_at_s:
            return Step.NOTHING
        if not self._usable(now_s):
            return Step.FETCH_AND_WAIT
        if now_s < self._fetched_at_s + self._fresh_s / 2:
            return Step.NOTHING
        # A caller that waited for a Server that is gone would pay for every retry of the outage.
        old = now_s >= self._fetched_at_s + self._fresh_s
        return Step.FETCH_AND_WAIT if old and not self._backoff.failures else Step.FETCH_BEHIND

    def may_fetch_for_kid(self, now_s: float) -> bool:
        """Return whether an unknown `kid` may cause a fetch now."""
        return now_s >= max(self._asked_at_s + self._kid_retry_s, self._retry_at_s)

    def check_usable(self, now_s: float) -> None:
        """
        Make sure that there are keys that may be used.

        Raises:
            KeysUnavailableError: There are none, or they are too old.
        """
        if not self._usable(now_s):
            raise KeysUnavailableError(self._problem)

    def check_answers(self) -> None:
        """
        Make sure that the Server answered when it was last asked; only then "unknown key" says something.

        Raises:
            KeysUnavailableError: It did not.
        """
        if self._backoff.failures:
            raise KeysUnavailableError(self._problem)

    def begin(self, now_s: float) -> None:
        """Note that the Server is being asked."""
        self._asked_at_s = now_s

    def succeeded(self, published: PublishedKeys, *, asked_at_s: float) -> None:
        """Take what the Server answered; keys that are unchanged stay the very same objects."""
        self.by_kid = {kid: self._same_or_new(key) for kid, key in published.by_kid.items()}
        self._fetched_at_s = asked_at_s
        self._fresh_s = published.fresh_s
        self._backoff.reset()
        self._retry_at_s = -math.inf
        self.due_at_s = asked_at_s + published.fresh_s / 2

    def failed(self, problem: str, *, now_s: float) -> None:
        """Note that the Server did not answer, or not with keys."""
        self._problem = problem
        self._retry_at_s = now_s + self._backoff.next_s()
        self.due_at_s = max(self.due_at_s, min(self._retry_at_s, self._unusable_at_s()))

    def _same_or_new(self, new: PublishedKey) -> PublishedKey:
        old = self.by_kid.get(new.kid)
        same = old is not None and old.canonical_jwk == new.canonical_jwk and old.algorithms == new.algorithms
        return old if same and old is not None else new

    def _unusable_at_s(self) -> float:
        return self._fetched_at_s + self._fresh_s + self._outage_grace_s

    def _usable(self, now_s: float) -> bool:
        return now_s < self._unusable_at_s()
