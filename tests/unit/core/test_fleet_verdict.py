"""Whether every expected Worker is connected, and what the lost ones have in common."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, worker

from lyftdata.core.fleet_verdict import (
    Facts,
    Level,
    Presence,
    SessionEndFacts,
    Trait,
    TraitKind,
    find_common,
    host_prefixes,
    is_expected,
    judge,
    presence_of,
)
from lyftdata.core.records import Approval

STARTED = NOON - timedelta(days=1)


def minutes(*before):
    """Return the times that many minutes before noon."""
    return [NOON - timedelta(minutes=number) for number in before]


def test_a_worker_seen_within_seven_days_is_expected():
    """One that was not seen is not expected, whatever its entry says."""
    assert is_expected(worker("press-01"), seen_recently=True)
    assert not is_expected(worker("press-01"), seen_recently=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"approval": Approval.PENDING},
        {"superseded_by": "press-02"},
        {"archived_at": NOON},
        {"labels": {"always": "no"}},
    ],
)
def test_a_worker_that_may_not_connect_is_not_expected(changes):
    """A disabled, pending, superseded or archived one, and one with the label `always=no`."""
    assert not is_expected(msgspec.structs.replace(worker("press-01"), **changes), seen_recently=True)


@pytest.mark.parametrize("labels", [{"always": "yes"}, {"always": ""}, {"sometimes": "no"}])
def test_only_the_label_always_no_excludes_a_worker(labels):
    """Other labels and values do not."""
    assert is_expected(msgspec.structs.replace(worker("press-01"), labels=labels), seen_recently=True)


@pytest.mark.parametrize(
    ("end", "age", "presence"),
    [
        ("lost", timedelta(hours=1), Presence.LOST),
        ("lost", timedelta(hours=1, seconds=1), Presence.AWAY),
        ("signed_off", timedelta(minutes=1), Presence.AWAY),
        ("api_key_expired", timedelta(minutes=1), Presence.LOST),
        ("server_stopped", timedelta(seconds=119), Presence.RETURNING),
        ("server_stopped", timedelta(seconds=120), Presence.LOST),
        ("server_crashed", timedelta(seconds=119), Presence.RETURNING),
    ],
)
def test_presence_of_a_worker_that_is_not_connected(end, age, presence):
    """It is lost within the hour unless it signed off; Workers of a stopped Server have two minutes to reconnect."""
    last = SessionEndFacts(NOON - age, end)
    assert presence_of(last, now=NOON, server_started_at=STARTED) is presence


def test_a_worker_without_a_known_last_session_is_away():
    """It ended more than an hour ago."""
    assert presence_of(None, now=NOON, server_started_at=STARTED) is Presence.AWAY


def test_workers_have_two_minutes_after_their_server_restarted():
    """They could not reconnect while it was down."""
    last = SessionEndFacts(NOON - timedelta(minutes=30), "server_crashed")
    for age, presence in ((119, Presence.RETURNING), (120, Presence.LOST)):
        started = NOON - timedelta(seconds=age)
        assert presence_of(last, now=NOON, server_started_at=started) is presence


@pytest.mark.parametrize(
    ("online", "lost", "away", "level"),
    [
        (0, 0, 0, Level.NONE),
        (1, 0, 0, Level.GOOD),
        (99, 0, 1, Level.WARNING),
        (99, 1, 0, Level.WARNING),
        (3, 1, 0, Level.CRITICAL),
        (95, 5, 0, Level.CRITICAL),
        (96, 4, 0, Level.WARNING),
        (9_990, 10, 0, Level.CRITICAL),
        (9_991, 9, 0, Level.WARNING),
        (0, 1, 0, Level.CRITICAL),
    ],
)
def test_the_level_depends_on_how_many_workers_are_lost(online, lost, away, level):
    """Good only if all are connected; critical from ten lost Workers or one in twenty."""
    verdict = judge(online=online, returning=0, away=away, lost_at=[NOON] * lost)
    assert verdict.level is level
    assert verdict.expected == online + lost + away


def test_an_outage_starts_when_most_workers_were_lost():
    """A single Worker lost long before does not make an outage of four minutes last an hour."""
    verdict = judge(online=5, returning=0, away=0, lost_at=minutes(55, 4, 3, 3, 2))
    assert verdict.since == NOON - timedelta(minutes=55)
    assert verdict.most_since == NOON - timedelta(minutes=4)
    assert verdict.most == 4


def fleet(number, **facts):
    """Return the facts of that many Workers."""
    return [Facts(**facts) for _ in range(number)]


def traits(lost, rest):
    """Return the common traits as kind and value."""
    return [(shared.trait.kind.value, shared.trait.value) for shared in find_common(lost, rest)]


def test_a_trait_of_the_whole_fleet_is_not_reported():
    """It cannot explain the loss of a part of the fleet."""
    shared = {"app": "press"}
    lost = fleet(4, labels=shared | {"zone": "eu-2"})
    rest = fleet(20, labels=shared | {"zone": "eu-1"})
    assert traits(lost, rest) == [("label", "zone=eu-2")]


@pytest.mark.parametrize(("having", "found"), [(8, [("label", "zone=eu-2")]), (7, [])])
def test_a_trait_must_be_shared_by_80_percent_of_the_lost(having, found):
    """Just below that, it is not reported."""
    lost = fleet(having, labels={"zone": "eu-2"}) + fleet(10 - having)
    assert traits(lost, fleet(10)) == found


@pytest.mark.parametrize(("having", "found"), [(5, [("label", "zone=eu-2")]), (6, [])])
def test_a_trait_must_be_twice_as_common_among_the_lost(having, found):
    """One that more than half as large a share of the connected Workers has does not distinguish the lost ones."""
    rest = fleet(having, labels={"zone": "eu-2"}) + fleet(10 - having)
    assert traits(fleet(3, labels={"zone": "eu-2"}), rest) == found


def test_every_kind_of_trait_is_found():
    """Labels without a value, networks, keys, host name prefixes, versions, and the reason for which the session ended."""
    lost = [
        Facts(
            labels={"gpu": ""},
            address=f"10.2.3.{n}",
            key="press-keys",
            host=f"rack9-n{n}",
            version="1.3",
            end="api_key_expired",
        )
        for n in range(3)
    ]
    rest = [Facts(address="10.2.4.1", key="other", host="rack1-n1", version="1.4")]
    for shared in (Trait(TraitKind.LABEL, "gpu"), Trait(TraitKind.KEY, "press-keys")):
        assert shared in [one.trait for one in find_common(lost, rest)]
    for kind, value in (("network", "10.2.3.0/24"), ("host", "rack9-n"), ("version", "1.3")):
        only = {"network": "address", "host": "host", "version": "version"}[kind]
        bare = [Facts(**{only: getattr(facts, only)}) for facts in lost]
        assert traits(bare, rest) == [(kind, value)]


def test_no_trait_is_reported_for_two_lost_workers():
    """Any two share something by chance."""
    assert traits(fleet(2, labels={"zone": "eu-2"}), fleet(10)) == []


def test_no_trait_is_reported_if_the_whole_fleet_is_lost():
    """There are no other Workers to compare with."""
    assert traits(fleet(10, labels={"zone": "eu-2"}), []) == []


def test_loopback_and_invalid_addresses_are_not_a_trait():
    """They do not say in which network a Worker is."""
    for address in ("127.0.0.1", "::1", "unix", ""):
        assert traits(fleet(3, address=address), fleet(3, address="10.0.0.1")) == []


@pytest.mark.parametrize(
    ("host", "prefixes"),
    [
        ("rack9-n12", ["rack", "rack9-", "rack9-n"]),
        ("W1.example", ["w", "w1."]),
        ("press", []),
        ("", []),
    ],
)
def test_prefixes_of_host_names(host, prefixes):
    """They end at the separators of a name, and before the numbers that count hosts."""
    assert list(host_prefixes(host)) == prefixes
