"""
Decides whether all expected Workers are connected, and what the lost ones have in common.

  * Expected: its entry admits it (enabled, approved, neither superseded nor archived), it was connected within the last seven
    days, and it has no label `always=no`.
  * Lost: expected, not connected, and its session ended within the last hour other than by signing off.
  * Returning: like lost, but because its Server stopped, and it still has time to reconnect.
  * Away: expected and not connected, for another reason: it signed off, or has been offline for longer than an hour.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lyftdata.core.networks import LOOPBACK, UNKNOWN, network_of_host
from lyftdata.core.records import SessionEnd, WorkerRecord

EXPECTED_FOR = timedelta(days=7)
LOST_FOR = timedelta(hours=1)
# Workers of a Server that stopped reconnect within a minute, however many there are.
RETURN_WITHIN = timedelta(minutes=2)
NOT_EXPECTED_LABEL, NOT_EXPECTED_VALUE = "always", "no"

_MOST = 0.8
# Fewer Workers share something by chance.
_MIN_LOST_FOR_TRAITS = 3
_MAX_TRAITS = 3
# From this number, or this share of the expected, lost Workers are an outage and not a host that was switched off.
_CRITICAL_COUNT = 10
_CRITICAL_SHARE = 0.05
_WORKERS_OWN_ENDS = frozenset(SessionEnd)
_SEPARATORS = re.compile(r"[-._]|(?<=[^\W\d_])(?=\d)")


class Presence(StrEnum):
    """The presence of an expected Worker; as a filter, `missing` finds every one that is not connected."""

    EXPECTED = "expected"
    MISSING = "missing"
    LOST = "lost"
    RETURNING = "returning"
    AWAY = "away"


class Level(StrEnum):
    """The severity of a verdict."""

    NONE = "none"
    """No Worker is expected."""
    GOOD = "good"
    WARNING = "warning"
    CRITICAL = "critical"


class TraitKind(StrEnum):
    """What Workers can have in common, the most telling first."""

    LABEL = "label"
    KEY = "key"
    END = "end"
    NETWORK = "network"
    HOST = "host"
    VERSION = "version"


_ORDER = {kind: place for place, kind in enumerate(TraitKind)}


class SessionEndFacts(msgspec.Struct, frozen=True, gc=False):
    """When and why the last session of a Worker ended."""

    at: datetime
    end: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of a Worker that others may share; `host` and `version` are what it reports itself."""

    labels: Mapping[str, str] = {}
    address: str = ""
    key: str = ""
    host: str = ""
    version: str = ""
    end: str = ""


class Trait(msgspec.Struct, frozen=True):
    """Something that Workers can have in common."""

    kind: TraitKind
    value: str


class SharedTrait(msgspec.Struct, frozen=True):
    """A trait, and how many of the lost Workers have it."""

    trait: Trait
    count: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every expected Worker is connected, and if not, since when and what the lost ones share."""

    level: Level
    expected: int
    online: int
    """How many of the expected Workers are connected."""
    lost: int = 0
    returning: int = 0
    away: int = 0
    since: datetime | None = None
    """When the first of the lost Workers went offline."""
    most_since: datetime | None = None
    """The time since which most of the lost (80 % or more) went offline."""
    most: int = 0
    """How many of the lost went offline since then."""
    refused: int = 0
    """How many of the lost the Server disconnected itself, because it no longer accepts them."""
    common: Sequence[SharedTrait] = ()
    """The traits that at least 80 % of the lost share and most others do not, the most telling first."""


def is_expected(worker: WorkerRecord, *, seen_recently: bool) -> bool:
    """Return whether a Worker should be connected; `seen_recently` says whether it was connected within `EXPECTED_FOR`."""
    return (
        seen_recently
        and worker.enabled
        and worker.approval is None
        and worker.superseded_by is None
        and worker.archived_at is None
        and worker.labels.get(NOT_EXPECTED_LABEL) != NOT_EXPECTED_VALUE
    )


def presence_of(last: SessionEndFacts | None, *, now: datetime, server_started_at: datetime) -> Presence:
    """
    Return the presence of an expected Worker that is not connected.

    Args:
        last: How its last session ended, if that was within `LOST_FOR`.
        now: Aware UTC time.
        server_started_at: When this Server started; no Worker could reconnect to it earlier.
    """
    if last is None or now - last.at > LOST_FOR or last.end == SessionEnd.SIGNED_OFF:
        return Presence.AWAY
    if last.end in {SessionEnd.SERVER_STOPPED, SessionEnd.SERVER_CRASHED}:
        is_returning = now - max(last.at, server_started_at) < RETURN_WITHIN
        return Presence.RETURNING if is_returning else Presence.LOST
    return Presence.LOST


def is_refusal(end: str) -> bool:
    """Return whether the Server ended the session with a refusal; its code is then the reason."""
    return bool(end) and end not in _WORKERS_OWN_ENDS


def judge(
    *,
    online: int,
    returning: int,
    away: int,
    lost_at: Sequence[datetime],
    refused: int = 0,
    common: Sequence[SharedTrait] = (),
) -> Verdict:
    """
    Return the verdict about a fleet.

    Args:
        online: How many expected Workers are connected.
        returning: How many are about to reconnect to a Server that was restarted.
        away: How many signed off or have been offline for longer than an hour.
        lost_at: When each of the lost Workers went offline.
        refused: How many of them the Server has disconnected.
        common: What the lost ones have in common.
    """
    lost = sorted(lost_at)
    expected = online + returning + away + len(lost)
    # The latest time since which at least 80 % of them went offline.
    most_since = lost[len(lost) - math.ceil(len(lost) * _MOST)] if lost else None
    return Verdict(
        level=_level(expected=expected, lost=len(lost), others=returning + away),
        expected=expected,
        online=online,
        lost=len(lost),
        returning=returning,
        away=away,
        since=lost[0] if lost else None,
        most_since=most_since,
        most=sum(at >= most_since for at in lost) if most_since is not None else 0,
        refused=refused,
        common=common,
    )


def _level(*, expected: int, lost: int, others: int) -> Level:
    if not expected:
        return Level.NONE
    if lost >= min(_CRITICAL_COUNT, max(1, expected * _CRITICAL_SHARE)):
        return Level.CRITICAL
    return Level.WARNING if lost or others else Level.GOOD


def find_common(lost: Collection[Facts], rest: Iterable[Facts]) -> list[SharedTrait]:
    """
    Return the traits that at least 80 % of the lost Workers share, and at most half as large a part of the others.

    Args:
        lost: The facts of the lost Workers.
        rest: The facts of the other Workers that are expected and connected; without others there is nothing to compare with.
    """
    if len(lost) < _MIN_LOST_FOR_TRAITS:
        return []
    needed = math.ceil(len(lost) * _MOST)
    counts = Counter(trait for facts in lost for trait in traits_of(facts))
    candidates = [trait for trait, number in counts.items() if number >= needed]
    others, having = 0, Counter[Trait]()
    for facts in rest:
        others += 1
        having.update(trait for trait in candidates if has_trait(facts, trait))
    if not others:
        return []
    telling = [
        (having[trait] / others - counts[trait] / len(lost), SharedTrait(trait, counts[trait]))
        for trait in candidates
        if having[trait] / others <= counts[trait] / len(lost) / 2
    ]
    return _best_of_each_kind(telling)


def _best_of_each_kind(telling: Sequence[tuple[float, SharedTrait]]) -> list[SharedTrait]:
    """Return the best trait of each kind: the one that best separates the lost from the others, and is the most specific."""

    def rank(one: tuple[float, SharedTrait]) -> tuple[float, int, int]:
        score, shared = one
        return (round(score, 2), _ORDER[shared.trait.kind], -len(shared.trait.value))

    best: dict[TraitKind, SharedTrait] = {}
    for _, shared in sorted(telling, key=rank):
        best.setdefault(shared.trait.kind, shared)
    return list(best.values())[:_MAX_TRAITS]


def traits_of(facts: Facts) -> Iterator[Trait]:
    """Yield each trait that a Worker may share with others, once."""
    for key, value in facts.labels.items():
        yield Trait(TraitKind.LABEL, f"{key}={value}" if value else key)
    network = network_of_host(facts.address) if facts.address else UNKNOWN
    # Behind a proxy that is not trusted, or on one machine, every Worker has the same address.
    if network not in {UNKNOWN, LOOPBACK}:
        yield Trait(TraitKind.NETWORK, network)
    if facts.key:
        yield Trait(TraitKind.KEY, facts.key)
    if facts.version:
        yield Trait(TraitKind.VERSION, facts.version)
    if facts.end:
        yield Trait(TraitKind.END, facts.end)
    for prefix in host_prefixes(facts.host):
        yield Trait(TraitKind.HOST, prefix)


def has_trait(facts: Facts, trait: Trait) -> bool:
    """Return whether a Worker has a trait."""
    match trait.kind:
        case TraitKind.LABEL:
            key, _, value = trait.value.partition("=")
            return facts.labels.get(key) == value
        case TraitKind.KEY:
            return facts.key == trait.value
        case TraitKind.VERSION:
            return facts.version == trait.value
        case TraitKind.END:
            return facts.end == trait.value
        case TraitKind.HOST:
            return facts.host.casefold().startswith(trait.value)
        case TraitKind.NETWORK:
            return bool(facts.address) and network_of_host(facts.address) == trait.value


def host_prefixes(host: str) -> Iterator[str]:
    """Yield the prefixes of a host name that end at a boundary between its parts: `rack9-`, `rack9-n` and `rack` of `rack9-n12`."""
    name = host.casefold()
    for found in _SEPARATORS.finditer(name):
        if prefix := name[: found.end()]:
            yield prefix
