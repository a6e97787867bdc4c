"""
A plain evaluation of searches, Worker by Worker and condition by condition, to compare with the fast one; and random fleets.
"""

import random
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

import msgspec
from tests.builders import worker

from lyftdata.core.networks import is_in
from lyftdata.core.query_values import Age, KeyPattern, TextPattern, VersionRange, fold
from lyftdata.core.records import State, Strategy, WorkerRecord, WorkerTraces
from lyftdata.core.worker_query import Condition, Field, LabelMatch, Term, WorkerQuery
from lyftdata.server.sessions.session import Boot, Session

KEYS = {"press-keys": "AAAAAAAAAA", "Binder_keys": "BBBBBBBBBB", "other": "CCCCCCCCCC"}
_HOSTS = ("rack1", "Rack10.example", "rack2", "100%_\\ Straße", "line\nbreak", "")
_ADDRESSES = ("10.4.0.{}", "10.19.7.{}", "::ffff:10.4.1.{}", "2001:db8::{}", "unknown")
_VERSIONS = ("1.3", "1.3.0rc1", "1.4.0", "1.4.2", "1.10.1", "nightly", None)
_NAMES = ("press", "Müller", "STRASSE", "gpu-host", "100%", "a_b")
_WORDS = (
    "press",
    "rack1",
    "gpu",
    "10.4.",
    "2001:db8",
    "eu-1",
    "zone=eu",
    "%",
    "_",
    "press-keys",
    "r*1",
    "w-0",
    "straße",
    "break",
    "x" * 9,
)
_TERMS = (
    *("name:press", "name:=press-7", "name:*r*", "id:w-00", "id:=w-0007", "id:=w-0007,w-0008", "id:*1"),
    *("host:rack1", "host:=rack1", "host:rack*e*", "host:STRASSE,rack2", "host:*"),
    *(
        "address:10.4.0.0/16",
        "address:10.0.0.0/8",
        "address:10.16.0.0/12",
        "address:10.4.0.7",
        "address:10.4.0.0/30",
    ),
    *("address:2001:db8::/32", "address:::/0", "address:0.0.0.0/0", "address:10.4.0.0/25,2001:db8::/64"),
    *("key:press-keys", "key:press-*,other", "key:*", "key:none"),
    *("label:gpu", "zone=eu-1", "zone=eu-1,eu-2", "zone=eu-*", "gpu="),
    *(
        "status:offline",
        "status:online",
        "status:never_connected",
        "status:disabled,offline",
        "strategy:api_key",
    ),
    *("version:1.4", "version:<1.4", "version:>=1.4,1.3", "version:=1.4", "version:1.3.0rc1"),
    *("seen:<1h", "seen:>1h", "seen:>3d,never", "seen:<1h,>7d", "seen:never", "created:<30d", "created:>30d"),
)


class Described(msgspec.Struct, frozen=True):
    """A Worker as a search sees it: what its session says, or the traces of its last one."""

    record: WorkerRecord
    is_online: bool
    seen_at: datetime | None
    host: str
    address: str | None
    key: str | None
    version: str

    @property
    def state(self) -> State:
        """Return its state; these fleets have no other states."""
        if not self.record.enabled:
            return State.DISABLED
        if self.is_online:
            return State.ONLINE
        return State.NEVER_CONNECTED if self.seen_at is None else State.OFFLINE


def random_query(chance: random.Random) -> str:
    """Return a search of one to five words."""
    words = [
        quoted_word(chance.choice(_WORDS)) if chance.random() < 0.3 else chance.choice(_TERMS)
        for _ in range(chance.randint(1, 5))
    ]
    return " ".join(("-" if chance.random() < 0.25 else "") + word for word in words)


def quoted_word(word: str) -> str:
    """Return a word quoted so that it is taken literally, unless it has a wildcard."""
    return word if word.isalnum() or "*" in word else f'"{word}"'


def random_fleet(
    chance: random.Random, count: int, now: datetime
) -> tuple[list[Described], list[WorkerTraces], list[Session]]:
    """Return Workers, their traces, and the sessions of those that are connected."""
    described, traces, sessions = [], [], []
    for number in range(count):
        one, left, session = _random_worker(chance, number, now)
        described.append(one)
        traces += [left] if left else []
        sessions += [session] if session else []
    return described, traces, sessions


def _random_worker(
    chance: random.Random, number: int, now: datetime
) -> tuple[Described, WorkerTraces | None, Session | None]:
    labels = {"zone": f"eu-{chance.randint(1, 3)}", "gpu": "", "Rack": str(number)}
    record = worker(
        f"w-{number:04}",
        name=f"{chance.choice(_NAMES)}-{number}",
        labels={key: value for key, value in labels.items() if chance.random() < 0.5},
        strategy=chance.choice(list(Strategy)),
        enabled=chance.random() < 0.9,
        created_at=now - timedelta(days=chance.randint(0, 60), hours=1),
    )
    left, before = None, Described(record, False, None, "", None, None, "")
    if chance.random() < 0.8:
        facts, key = _random_facts(chance, number), chance.choice([*KEYS, None])
        at = now - timedelta(minutes=chance.choice((3, 59, 61, 5_000, 20_000)))
        left = WorkerTraces(
            worker_id=record.id, last_seen_at=at, address=facts.address, api_key_name=key, host=facts.host
        )
        before = _described(record, facts, key, at, is_online=False)
    if not record.enabled or chance.random() < 0.6:
        return before, left, None
    facts, key = _random_facts(chance, number), chance.choice([*KEYS, None])
    credential = f"jkt.thumbprint-{number}.0" if key is None else f"key.{KEYS[key]}.0"
    session = Session(record.id, facts, credential, now)
    return _described(record, facts, key, now, is_online=True), left, session


def _random_facts(chance: random.Random, number: int) -> Boot:
    version = chance.choice(_VERSIONS)
    host = {"hostname": chance.choice(_HOSTS)} | ({} if version is None else {"agent_version": version})
    address = chance.choice(_ADDRESSES).format(number % 250)
    return Boot(boot_id=f"boot-{number:06}", host=host, reported_labels={}, address=address)


def _described(
    record: WorkerRecord, facts: Boot, key: str | None, at: datetime, *, is_online: bool
) -> Described:
    hostname, version = facts.host["hostname"], facts.host.get("agent_version", "")
    return Described(record, is_online, at, hostname, facts.address, key, version)


def plain_search(query: WorkerQuery, fleet: list[Described], now: datetime) -> set[str]:
    """Return the IDs of the Workers that fit every term."""
    return {one.record.id for one in fleet if all(_fits_term(term, one, now) for term in query.terms)}


def _fits_term(term: Term, one: Described, now: datetime) -> bool:
    return any(_fits(term.field, condition, one, now) for condition in term.conditions) is not term.is_negated


def _fits(field: Field, condition: Condition, one: Described, now: datetime) -> bool:  # noqa: PLR0911 - one for each kind
    match condition:
        case TextPattern():
            return any(condition.matches(fold(text)) for text in _texts(field, one))
        case Age():
            at = one.record.created_at if field is Field.CREATED else one.seen_at
            age = None if at is None else now - at
            return age is not None and (
                age < condition.span if condition.comparison == "<" else age > condition.span
            )
        case LabelMatch():
            value = one.record.labels.get(condition.key)
            return value is not None and (condition.value is None or condition.value.matches(value))
        case IPv4Network() | IPv6Network():
            return is_in(one.address, condition)
        case KeyPattern():
            return one.key is not None and condition.name.matches(one.key)
        case VersionRange():
            return condition.matches(one.version)
        case State():
            return one.state is condition
        case Strategy():
            return one.record.strategy is condition
        case _:
            return one.seen_at is None


def _texts(field: Field, one: Described) -> list[str]:
    known = {Field.NAME: one.record.name, Field.ID: one.record.id, Field.HOST: one.host}
    if field in known:
        return [text for text in [known[field]] if text]
    labels = [f"{key}={value}" if value else key for key, value in one.record.labels.items()]
    left = [text for text in (one.host, one.address, one.key) if text] if one.seen_at else []
    return [one.record.name, one.record.id, *labels, *left]
